package pkgmgrtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/wire"
)

// Manager is everything that a backend can do.
type Manager interface {
	pkgmgr.Scanner
	pkgmgr.Refresher
	pkgmgr.Transactor
	pkgmgr.Verifier
	pkgmgr.Closer
	pkgmgr.Fencer
	pkgmgr.Historian
}

// request is one call of a Manager's method.
type request struct {
	Method   string
	Want     pkgmgr.Want
	Tx       pkgmgr.Transaction
	Items    []catalog.Item
	Plan     wire.Plan
	Update   catalog.UpdateID
	Changes  []wire.Change
	Snapshot *pkgmgr.Snapshot
}

// reply is its answer.
type reply struct {
	Snapshot  *pkgmgr.Snapshot    `json:",omitempty"`
	Origins   []wire.OriginHealth `json:",omitempty"`
	Tx        pkgmgr.Transaction
	Outcome   pkgmgr.Outcome
	Health    pkgmgr.Health
	Proof     []wire.ProofItem `json:",omitempty"`
	Available wire.Available
	Progress  []pkgmgr.Progress `json:",omitempty"`
	Foresight pkgmgr.Foresight
	Refusal   *pkgmgr.Refusal `json:",omitempty"`
	Error     string          `json:",omitempty"`
}

// err is the error that the method returned.
func (r reply) err() error {
	if r.Refusal != nil {
		return r.Refusal
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	return nil
}

// Serve answers calls: requests on in, for each its reply on out. A driver's main calls it inside the device.
func Serve(m Manager, in io.Reader, out io.Writer) error {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var req request
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a call: %w", err)
		}
		rep, err := call(context.Background(), m, req)
		if err != nil && !errors.As(err, &rep.Refusal) {
			rep.Error = err.Error()
		}
		if err := replies.Encode(rep); err != nil {
			return fmt.Errorf("answer a call: %w", err)
		}
	}
}

func call(ctx context.Context, m Manager, req request) (rep reply, err error) {
	progress := func(p pkgmgr.Progress) { rep.Progress = append(rep.Progress, p) }
	switch req.Method {
	case "Scan":
		rep.Snapshot, err = m.Scan(ctx)
	case "Refresh":
		rep.Origins, err = m.Refresh(ctx)
	case "Simulate":
		rep.Tx, err = m.Simulate(ctx, req.Want)
	case "Fetch":
		err = m.Fetch(ctx, req.Tx, progress)
	case "Apply":
		rep.Outcome, err = m.Apply(ctx, req.Tx, progress)
	case "Recover":
		rep.Health, err = m.Recover(ctx)
	case "Verify":
		rep.Proof, rep.Health, err = m.Verify(ctx, req.Items)
	case "Close":
		rep.Available, err = m.Close(ctx, req.Snapshot)
	case "Fence":
		err = m.Fence(ctx, req.Plan)
	case "Unfence":
		err = m.Unfence(ctx)
	case "Remember":
		err = m.Remember(ctx, req.Update, req.Changes)
	case "Room", "Foresee":
		f, ok := m.(pkgmgr.Foreseer)
		switch {
		case !ok:
			err = errors.New("the manager does not look ahead")
		case req.Method == "Room":
			err = f.Room(req.Tx)
		default:
			rep.Foresight, err = f.Foresee(ctx, req.Tx)
		}
	default:
		err = fmt.Errorf("no method %q", req.Method)
	}
	return rep, err
}
