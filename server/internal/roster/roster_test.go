package roster_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/audit"
	"assent/server/internal/auth"
	"assent/server/internal/decide"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/server/internal/roster"
	"assent/wire"
)

type office struct {
	*indextest.World
	*roster.Service
	admin, lab, viewer auth.Actor
}

func newOffice(t testing.TB) *office {
	o := &office{World: indextest.New(t)}
	o.Group("lab", fleet.Root)
	o.Group("bench", "lab")
	o.admin = o.person("ada", ledger.Administrator, fleet.Root)
	o.lab = o.person("lea", ledger.Administrator, "lab")
	o.viewer = o.person("vic", ledger.Viewer, fleet.Root)
	p, err := planner.New(planner.Config{Index: o.Index, Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	reader, err := decide.New(decide.Config{Index: o.Index, Planner: p})
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signer, err := ledger.NewSigner("test", key)
	if err != nil {
		t.Fatal(err)
	}
	name, err := ledger.VerifierKey("test", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	book, err := audit.New(audit.Config{Store: o.Store, Fleet: audit.IndexFleet{Index: o.Index}, Signer: signer, Key: name})
	if err != nil {
		t.Fatal(err)
	}
	if o.Service, err = roster.New(roster.Config{Index: o.Index, Reader: reader, Events: book, CA: []byte("certificate"), Server: "https://assent.test:8443"}); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) person(name string, role ledger.Role, scope fleet.GroupID) auth.Actor {
	o.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: role, Scope: scope}})
	return auth.Actor{Name: name, Role: role, Scope: scope}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Code
}

func TestGroupsAreMadeRenamedMovedAndDeleted(t *testing.T) {
	o := newOffice(t)
	guard := fleet.ApprovedOnly
	made, err := o.CreateGroup(t.Context(), o.admin, client.GroupRequest{Name: "Kiosks", Parent: "lab", Guard: &guard})
	if err != nil || made.Parent != "lab" || made.GuardHere != fleet.ApprovedOnly || made.Depth != 2 {
		t.Fatalf("%+v, %v", made, err)
	}
	inherit := fleet.Inherit
	changed, err := o.ChangeGroup(t.Context(), o.admin, "kiosks", client.GroupRequest{Name: "Terminals", Parent: "bench", Guard: &inherit})
	if err != nil || changed.ID != made.ID || changed.Name != "Terminals" || changed.GuardHere != fleet.BlockDeclined || changed.Depth != 3 {
		t.Fatalf("%+v, %v", changed, err)
	}
	list, err := o.Groups(t.Context(), o.viewer)
	if err != nil || list.Total != 4 || list.Items[0].ID != fleet.Root || list.Items[3].ID != made.ID {
		t.Errorf("%+v, %v", list, err)
	}
	part, err := o.Groups(t.Context(), o.lab)
	if err != nil || part.Total != 3 || part.Items[0].Depth != 0 {
		t.Errorf("as seen from the lab: %+v, %v", part, err)
	}
	if _, err := o.DeleteGroup(t.Context(), o.admin, "Terminals"); err != nil {
		t.Error(err)
	}
	for want, act := range map[string]func() error{
		"name_taken": func() error {
			_, err := o.CreateGroup(t.Context(), o.admin, client.GroupRequest{Name: "LAB"})
			return err
		},
		"group_cycle": func() error {
			_, err := o.ChangeGroup(t.Context(), o.admin, "lab", client.GroupRequest{Parent: "bench"})
			return err
		},
		"group_root":   func() error { _, err := o.DeleteGroup(t.Context(), o.admin, "root"); return err },
		"group_in_use": func() error { _, err := o.DeleteGroup(t.Context(), o.admin, "lab"); return err },
		"out_of_scope": func() error { _, err := o.CreateGroup(t.Context(), o.lab, client.GroupRequest{Name: "x"}); return err },
		"role_missing": func() error { _, err := o.DeleteGroup(t.Context(), o.viewer, "bench"); return err },
		"guard_unknown": func() error {
			open := fleet.GuardMode("open")
			_, err := o.ChangeGroup(t.Context(), o.admin, "lab", client.GroupRequest{Guard: &open})
			return err
		},
	} {
		if err := act(); code(err) != want {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestN23_NamesThatCannotBeToldApartByEyeAreRefused(t *testing.T) {
	o := newOffice(t)
	for _, name := range []string{"", " x", "x ", "a  b", "a\nb", "a\x1b[31m", "a\u202eb", "a\u200bb", strings.Repeat("x", 65), "\xff", "\u00a0x"} {
		if _, err := o.CreateGroup(t.Context(), o.admin, client.GroupRequest{Name: name}); !errors.Is(err, fault.Invalid) {
			t.Errorf("group %q: %v", name, err)
		}
		if _, err := o.SetOperator(t.Context(), o.admin, client.OperatorRequest{Name: name, Role: ledger.Viewer}); !errors.Is(err, fault.Invalid) {
			t.Errorf("operator %q: %v", name, err)
		}
	}
	if _, err := o.CreateGroup(t.Context(), o.admin, client.GroupRequest{Name: strings.Repeat("ü", 64)}); err != nil {
		t.Errorf("64 letters: %v", err)
	}
}

func TestDevicesAreMovedQuarantinedReleasedAndRetiredInOneActEach(t *testing.T) {
	o := newOffice(t)
	o.World.Device("d1", "lab")
	o.World.Device("d2", fleet.Root)
	change := func(who auth.Actor, c client.DeviceChange) (client.Act, error) {
		return o.ChangeDevices(t.Context(), who, c)
	}
	if act, err := change(o.admin, client.DeviceChange{Devices: []string{"d1", "d2"}, Group: "bench"}); err != nil || act.Act == 0 {
		t.Fatalf("%+v, %v", act, err)
	}
	if act, err := change(o.admin, client.DeviceChange{Devices: []string{"d1", "d2"}, Group: "bench"}); err != nil || act.Act != 0 {
		t.Errorf("moved to where they are: %+v, %v", act, err)
	}
	for _, state := range []fleet.DeviceState{fleet.Quarantined, fleet.Active, fleet.Retired} {
		if _, err := change(o.lab, client.DeviceChange{Devices: []string{"d1"}, State: state, Reason: "because"}); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	for name, tc := range map[string]struct {
		who  auth.Actor
		c    client.DeviceChange
		want string
	}{
		"back from retirement":  {o.admin, client.DeviceChange{Devices: []string{"d1"}, State: fleet.Active}, "device_retired"},
		"nothing named":         {o.admin, client.DeviceChange{State: fleet.Retired}, "devices_missing"},
		"nothing to do":         {o.admin, client.DeviceChange{Devices: []string{"d2"}}, "change_ambiguous"},
		"two things":            {o.admin, client.DeviceChange{Devices: []string{"d2"}, Group: "lab", State: fleet.Retired}, "change_ambiguous"},
		"unknown state":         {o.admin, client.DeviceChange{Devices: []string{"d2"}, State: "lost"}, "state_unknown"},
		"one unknown of two":    {o.admin, client.DeviceChange{Devices: []string{"d2", "d9"}, State: fleet.Retired}, "device_unknown"},
		"out of the lab":        {o.lab, client.DeviceChange{Devices: []string{"d2"}, Group: "root"}, "out_of_scope"},
		"by a viewer":           {o.viewer, client.DeviceChange{Devices: []string{"d2"}, State: fleet.Retired}, "role_missing"},
		"a reason with escapes": {o.admin, client.DeviceChange{Devices: []string{"d2"}, State: fleet.Retired, Reason: "\x1b[2J"}, "reason_invalid"},
	} {
		if _, err := change(tc.who, tc.c); code(err) != tc.want {
			t.Errorf("%s: want %s, got %v", name, tc.want, err)
		}
	}
	o.Index.View(func(v *index.View) {
		if v.State().Devices["d2"].State != fleet.Active {
			t.Error("a refused act changed a device")
		}
	})
}

func TestN30_ATokenAdmitsAsManyDevicesAsItSaysAndNoMore(t *testing.T) {
	o := newOffice(t)
	made, err := o.CreateToken(t.Context(), o.lab, client.TokenRequest{Uses: 2, Note: "two kiosks"})
	if err != nil || made.Group != "lab" || !strings.Contains(made.Command, made.Text) {
		t.Fatalf("%+v, %v", made, err)
	}
	token, err := wire.ParseToken(made.Text)
	if err != nil {
		t.Fatal(err)
	}
	key := func(i int) string { return indextest.Digest(fmt.Sprint(i)) }
	var admitted []fleet.Device
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			d, err := o.Enrol(t.Context(), token, key(i), "kiosk\x1b[31m")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				admitted = append(admitted, d)
			} else if !errors.Is(err, fault.Gone) {
				t.Errorf("refused with %v", err)
			}
		})
	}
	group.Wait()
	if len(admitted) != 2 || admitted[0].Group != "lab" || admitted[0].Name != "kiosk[31m" || admitted[0].State != fleet.Active {
		t.Fatalf("admitted: %+v", admitted)
	}
	wrong := token
	wrong.Secret = strings.Repeat("0", len(token.Secret))
	unknown := token
	unknown.ID = "00000000"
	_, errWrong := o.Enrol(t.Context(), wrong, key(20), "x")
	_, errUnknown := o.Enrol(t.Context(), unknown, key(21), "x")
	if code(errWrong) != "token_unknown" || errWrong.Error() != errUnknown.Error() {
		t.Errorf("a wrong secret says %v, a wrong id %v", errWrong, errUnknown)
	}
	fresh, err := o.CreateToken(t.Context(), o.admin, client.TokenRequest{Group: "bench"})
	if err != nil {
		t.Fatal(err)
	}
	late, _ := wire.ParseToken(fresh.Text)
	if _, err := o.RevokeToken(t.Context(), o.admin, fresh.ID); err != nil {
		t.Error(err)
	}
	if _, err := o.Enrol(t.Context(), late, key(30), "x"); !errors.Is(err, fault.Gone) {
		t.Errorf("a revoked token: %v", err)
	}
	list, err := o.Tokens(t.Context(), o.lab)
	if err != nil || list.Total != 2 || slices.ContainsFunc(list.Items, func(r client.TokenRow) bool { return r.Text != "" }) {
		t.Errorf("tokens: %+v, %v", list, err)
	}
	o.Advance(2 * time.Hour)
	if again, err := o.CreateToken(t.Context(), o.admin, client.TokenRequest{}); err != nil || !again.Expires.Equal(o.Now().Add(time.Hour)) {
		t.Errorf("by default it lives until %s, %v", again.Expires, err)
	}
	for _, bad := range []client.TokenRequest{{Uses: -1}, {Uses: 1_000_000}, {TTL: time.Second}, {TTL: 31 * 24 * time.Hour}, {Note: "a\nb"}, {Group: "nowhere"}} {
		if _, err := o.CreateToken(t.Context(), o.admin, bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if _, err := o.CreateToken(t.Context(), o.viewer, client.TokenRequest{}); !errors.Is(err, fault.Forbidden) {
		t.Errorf("by a viewer: %v", err)
	}
}

func TestN20_NobodyGivesAwayMoreThanTheyHave(t *testing.T) {
	o := newOffice(t)
	for name, tc := range map[string]struct {
		who  auth.Actor
		r    client.OperatorRequest
		want string
	}{
		"an administrator of all, by one of the lab": {o.lab, client.OperatorRequest{Name: "eve", Role: ledger.Administrator, Scope: "root"}, "out_of_scope"},
		"oneself, upwards":                           {o.lab, client.OperatorRequest{Name: "lea", Role: ledger.Administrator, Scope: "root"}, "out_of_scope"},
		"somebody above, downwards":                  {o.lab, client.OperatorRequest{Name: "ada", Role: ledger.Viewer, Scope: "lab"}, "out_of_scope"},
		"by a viewer":                                {o.viewer, client.OperatorRequest{Name: "eve", Role: ledger.Viewer}, "role_missing"},
		"a role that does not exist":                 {o.admin, client.OperatorRequest{Name: "eve", Role: "owner"}, "role_unknown"},
		"the last administrator, downwards":          {o.admin, client.OperatorRequest{Name: "ada", Role: ledger.Viewer}, "last_administrator"},
		"a name of the ledger's own":                 {o.admin, client.OperatorRequest{Name: "device:d1", Role: ledger.Viewer}, "name_reserved"},
	} {
		if _, err := o.SetOperator(t.Context(), tc.who, tc.r); code(err) != tc.want {
			t.Errorf("%s: want %s, got %v", name, tc.want, err)
		}
	}
	if _, err := o.SetOperator(t.Context(), o.lab, client.OperatorRequest{Name: "ben", Role: ledger.Approver}); err != nil {
		t.Error(err)
	}
	list, err := o.Operators(t.Context(), o.lab)
	if err != nil || list.Total != 2 {
		t.Errorf("the lab's people: %+v, %v", list, err)
	}
	if _, err := o.RemoveOperator(t.Context(), o.lab, "ada"); code(err) != "operator_unknown" {
		t.Errorf("somebody above: %v", err)
	}
	if _, err := o.RemoveOperator(t.Context(), o.admin, "ada"); code(err) != "last_administrator" {
		t.Errorf("the last administrator: %v", err)
	}
	if _, err := o.RemoveOperator(t.Context(), o.lab, "ben"); err != nil {
		t.Error(err)
	}
}

func TestN43_AccessTokensAreShownOnceAndKeptAsHashes(t *testing.T) {
	o := newOffice(t)
	made, err := o.CreateAccess(t.Context(), o.viewer, client.AccessRequest{Note: "script"})
	if err != nil || made.Operator != "vic" || made.Text == "" || made.OneTime {
		t.Fatalf("%+v, %v", made, err)
	}
	signIn, err := o.CreateAccess(t.Context(), o.lab, client.AccessRequest{SignIn: true})
	if err != nil || !signIn.OneTime || signIn.Expires.Sub(o.Now()) > 24*time.Hour {
		t.Errorf("%+v, %v", signIn, err)
	}
	entries, err := o.Store.Entries(t.Context(), 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, text := range []string{made.Text, signIn.Text} {
			if secret := strings.Split(text, "_")[2]; strings.Contains(string(e.Data), secret) {
				t.Errorf("entry %d holds a secret", e.Seq)
			}
		}
	}
	for name, tc := range map[string]struct {
		who  auth.Actor
		sees int
	}{"one's own": {o.viewer, 1}, "the lab's": {o.lab, 1}, "all": {o.admin, 2}} {
		list, err := o.Accesses(t.Context(), tc.who)
		if err != nil || list.Total != tc.sees || list.Items[0].Text != "" {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
	if _, err := o.RevokeAccess(t.Context(), o.lab, made.ID); code(err) != "access_unknown" {
		t.Errorf("another's: %v", err)
	}
	if _, err := o.RevokeAccess(t.Context(), o.viewer, made.ID); err != nil {
		t.Error(err)
	}
	for _, bad := range []client.AccessRequest{{TTL: 400 * 24 * time.Hour}, {SignIn: true, TTL: 48 * time.Hour}, {Operator: "ada"}, {Operator: "nobody"}, {Note: "\u202e"}} {
		if _, err := o.CreateAccess(t.Context(), o.lab, bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestAReleasedDeviceGetsItsPlanAgain(t *testing.T) {
	o := newOffice(t)
	o.World.Device("d1", "lab")
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	r := indextest.Release("tool", "1.1")
	o.Act("ada", ledger.UpdateDecide{Scope: fleet.Root, Status: approval.Approved, Updates: []ledger.Decided{{Update: r.ID(), Release: r, Rev: 1}}})
	for _, state := range []fleet.DeviceState{fleet.Quarantined, fleet.Active} {
		if _, err := o.ChangeDevices(t.Context(), o.admin, client.DeviceChange{Devices: []string{"d1"}, State: state}); err != nil {
			t.Fatal(err)
		}
		row, err := o.Service.Device(t.Context(), o.admin, "d1")
		if err != nil || (row.Planned == 1) != (state == fleet.Active) {
			t.Errorf("%s: planned %d, blocked %d, %v", state, row.Planned, row.Blocked, err)
		}
	}
}

func TestADeviceIsShownWithItsOwnLastEventsNewestFirst(t *testing.T) {
	o := newOffice(t)
	o.World.Device("d1", "lab")
	o.World.Device("d2", "lab")
	for i := range 60 {
		o.Advance(time.Second)
		o.Report("d1", wire.Report{Event: "guard_refused", Detail: fmt.Sprint(i)})
		o.Report("d2", wire.Report{Event: "guard_refused", Detail: "of another"})
	}
	d, err := o.Service.Device(t.Context(), o.viewer, "d1")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(d.Events); n != 50 || d.Events[0].Detail != "59" || d.Events[49].Detail != "10" {
		t.Errorf("%d events: %+v", n, d.Events)
	}
}
