package server

import (
	"context"
	"crypto/subtle"
	"net/http"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/wire"
)

// openServices builds what stands between the listeners and the index.
func (r *running) openServices(ctx context.Context) error {
	var err error
	var watch observer
	if r.registry, watch, err = register(r.index, r.Version); err != nil {
		return err
	}
	_ = watch
	who, err := auth.New(auth.Config{Book: auth.IndexBook{Index: r.index}, Log: r.Log})
	if err != nil {
		return err
	}
	if err := r.openGateway(ctx, admission{r.index}); err != nil {
		return err
	}
	r.face = face{api: http.NotFoundHandler(), auth: who, registry: r.registry, ping: r.db.Ping, ready: r.started.Load,
		local: loopback(r.people.Addr().String()), pprof: r.Pprof, log: r.Log}
	return nil
}

// admission admits devices until package roster is there.
type admission struct{ index *index.Index }

func (a admission) Enrol(ctx context.Context, token wire.Token, key, hostname string) (fleet.Device, error) {
	var d fleet.Device
	_, err := a.index.Act(ctx, "device:d"+key[:12], func(v *index.View) (ledger.Body, error) {
		t, ok := v.State().Tokens[token.ID]
		if !ok || subtle.ConstantTimeCompare([]byte(t.Secret), []byte(token.SecretHash())) != 1 {
			return nil, fault.New(fault.Unauthenticated, "token_unknown", "The enrolment token is not known.").On("token")
		}
		d = fleet.Device{ID: fleet.DeviceID("d" + key[:12]), Name: hostname, Group: t.Group, State: fleet.Active, Key: key, EnrolledAt: time.Now().UTC()}
		return ledger.DeviceEnrol{Device: d, Token: token.ID}, nil
	})
	return d, err
}
