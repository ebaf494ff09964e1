package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"
	"testing"
	"time"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

// book is a book of access tokens over a real ledger state: what it accepts is what the ledger accepts.
type book struct {
	mu    sync.Mutex
	state *ledger.State
	now   func() time.Time
}

func (b *book) Access(id string) (ledger.Access, ledger.Operator, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.state.Accesses[id]
	return a, b.state.Operators[a.Operator], ok
}

func (b *book) Exchange(_ context.Context, spent string, fresh ledger.Access) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.state.Accesses[spent]; !ok {
		return fault.New(fault.Unauthenticated, "unauthenticated", "Spent.")
	}
	if err := b.apply(fresh.Operator, ledger.AccessRevoke{ID: spent}); err != nil {
		return err
	}
	return b.apply(fresh.Operator, ledger.AccessCreate{Access: fresh})
}

func (b *book) act(by string, body ledger.Body) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.apply(by, body)
}

func (b *book) apply(by string, body ledger.Body) error {
	e, err := ledger.Make(b.state.Seq+1, b.now(), by, body)
	if err != nil {
		return err
	}
	return b.state.Apply(e)
}

// services is every service at once. Each method answers with nothing and counts the call, or fails with err.
type services struct {
	mu    sync.Mutex
	calls []string
	all   [][]any // the arguments of each call
	err   error
}

func (s *services) called(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
	return s.err
}

func (s *services) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return ""
	}
	return s.calls[len(s.calls)-1]
}

func answer[T any](s *services, name string, args ...any) (T, error) {
	var zero T
	s.mu.Lock()
	s.all = append(s.all, args)
	s.mu.Unlock()
	return zero, s.called(name)
}

func (s *services) List(_ context.Context, x0 auth.Actor, x1 client.Filter, x2 client.Page) (client.List[client.UpdateRow], error) {
	return answer[client.List[client.UpdateRow]](s, "List", x0, x1, x2)
}
func (s *services) Trend(_ context.Context, x0 auth.Actor, x1 client.TrendQuery) (client.Trend, error) {
	return answer[client.Trend](s, "Trend", x0, x1)
}
func (s *services) Views(_ context.Context, x0 auth.Actor, x1 string) (client.List[client.ViewRow], error) {
	return answer[client.List[client.ViewRow]](s, "Views", x0, x1)
}
func (s *services) SaveView(_ context.Context, x0 auth.Actor, x1 client.ViewRequest) (client.ViewRow, error) {
	return answer[client.ViewRow](s, "SaveView", x0, x1)
}
func (s *services) DeleteView(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](s, "DeleteView", x0, x1)
}
func (s *services) Inventory(_ context.Context, x0 auth.Actor, x1 string, x2 client.InventoryQuery, x3 client.Page) (client.List[client.PackageInfo], error) {
	return answer[client.List[client.PackageInfo]](s, "Inventory", x0, x1, x2, x3)
}
func (s *services) Get(_ context.Context, x0 auth.Actor, x1 string, x2 string) (client.UpdateDetail, error) {
	return answer[client.UpdateDetail](s, "Get", x0, x1, x2)
}
func (s *services) Decide(_ context.Context, x0 auth.Actor, x1 client.Decide) (client.Outcome, error) {
	return answer[client.Outcome](s, "Decide", x0, x1)
}
func (s *services) Rollback(_ context.Context, x0 auth.Actor, x1 client.RollbackRequest) (client.RollbackOutcome, error) {
	return answer[client.RollbackOutcome](s, "Rollback", x0, x1)
}
func (s *services) Exceptions(_ context.Context, x0 auth.Actor) (client.List[client.ExceptionRow], error) {
	return answer[client.List[client.ExceptionRow]](s, "Exceptions", x0)
}
func (s *services) Except(_ context.Context, x0 auth.Actor, x1 client.ExceptionRequest) (client.Act, error) {
	return answer[client.Act](s, "Except", x0, x1)
}
func (s *services) Unexcept(_ context.Context, x0 auth.Actor, x1 int64) (client.Act, error) {
	return answer[client.Act](s, "Unexcept", x0, x1)
}
func (s *services) Agreements(_ context.Context, x0 auth.Actor, x1 string) (client.List[client.AgreementRow], error) {
	return answer[client.List[client.AgreementRow]](s, "Agreements", x0, x1)
}
func (s *services) AgreementText(_ context.Context, x0 auth.Actor, x1, x2 string) (client.AgreementText, error) {
	return answer[client.AgreementText](s, "AgreementText", x0, x1, x2)
}
func (s *services) Accepted(_ context.Context, x0 auth.Actor) (client.List[client.AgreementRow], error) {
	return answer[client.List[client.AgreementRow]](s, "Accepted", x0)
}
func (s *services) Accept(_ context.Context, x0 auth.Actor, x1 client.AcceptRequest) (client.Act, error) {
	return answer[client.Act](s, "Accept", x0, x1)
}
func (s *services) Withdraw(_ context.Context, x0 auth.Actor, x1 client.WithdrawRequest) (client.Act, error) {
	return answer[client.Act](s, "Withdraw", x0, x1)
}
func (s *services) Why(_ context.Context, x0 auth.Actor, x1 string, x2 string) (client.Why, error) {
	return answer[client.Why](s, "Why", x0, x1, x2)
}
func (s *services) Queue(_ context.Context, x0 auth.Actor, x1 client.QueueQuery, x2 client.Page) (client.List[client.QueueRow], error) {
	return answer[client.List[client.QueueRow]](s, "Queue", x0, x1, x2)
}
func (s *services) Rehearsals(_ context.Context, x0 auth.Actor, x1 client.RehearsalQuery, x2 client.Page) (client.List[client.RehearsalRow], error) {
	return answer[client.List[client.RehearsalRow]](s, "Rehearsals", x0, x1, x2)
}
func (s *services) RehearseDevices(_ context.Context, x0 auth.Actor, x1 client.RefreshRequest) (client.Refreshed, error) {
	return answer[client.Refreshed](s, "RehearseDevices", x0, x1)
}
func (s *services) Status(_ context.Context, x0 auth.Actor) (client.Status, error) {
	return answer[client.Status](s, "Status", x0)
}
func (s *services) Devices(_ context.Context, x0 auth.Actor, x1 client.DeviceQuery, x2 client.Page) (client.List[client.DeviceRow], error) {
	return answer[client.List[client.DeviceRow]](s, "Devices", x0, x1, x2)
}
func (s *services) Device(_ context.Context, x0 auth.Actor, x1 string) (client.DeviceDetail, error) {
	return answer[client.DeviceDetail](s, "Device", x0, x1)
}
func (s *services) ChangeDevices(_ context.Context, x0 auth.Actor, x1 client.DeviceChange) (client.Act, error) {
	return answer[client.Act](s, "ChangeDevices", x0, x1)
}
func (s *services) RefreshDevices(_ context.Context, x0 auth.Actor, x1 client.RefreshRequest) (client.Refreshed, error) {
	return answer[client.Refreshed](s, "RefreshDevices", x0, x1)
}
func (a audit) Events(_ context.Context, x0 auth.Actor, x1 client.EventQuery) (client.List[client.Event], error) {
	return answer[client.List[client.Event]](a.services, "Events", x0, x1)
}
func (s *services) Groups(_ context.Context, x0 auth.Actor) (client.List[client.GroupRow], error) {
	return answer[client.List[client.GroupRow]](s, "Groups", x0)
}
func (s *services) CreateGroup(_ context.Context, x0 auth.Actor, x1 client.GroupRequest) (client.GroupRow, error) {
	return answer[client.GroupRow](s, "CreateGroup", x0, x1)
}
func (s *services) ChangeGroup(_ context.Context, x0 auth.Actor, x1 string, x2 client.GroupRequest) (client.GroupRow, error) {
	return answer[client.GroupRow](s, "ChangeGroup", x0, x1, x2)
}
func (s *services) DeleteGroup(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](s, "DeleteGroup", x0, x1)
}
func (s *services) Tokens(_ context.Context, x0 auth.Actor) (client.List[client.TokenRow], error) {
	return answer[client.List[client.TokenRow]](s, "Tokens", x0)
}
func (s *services) CreateToken(_ context.Context, x0 auth.Actor, x1 client.TokenRequest) (client.TokenRow, error) {
	return answer[client.TokenRow](s, "CreateToken", x0, x1)
}
func (s *services) RevokeToken(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](s, "RevokeToken", x0, x1)
}
func (s *services) Operators(_ context.Context, x0 auth.Actor) (client.List[client.OperatorRow], error) {
	return answer[client.List[client.OperatorRow]](s, "Operators", x0)
}
func (s *services) SetOperator(_ context.Context, x0 auth.Actor, x1 client.OperatorRequest) (client.OperatorRow, error) {
	return answer[client.OperatorRow](s, "SetOperator", x0, x1)
}
func (s *services) RemoveOperator(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](s, "RemoveOperator", x0, x1)
}
func (s *services) Accesses(_ context.Context, x0 auth.Actor) (client.List[client.AccessRow], error) {
	return answer[client.List[client.AccessRow]](s, "Accesses", x0)
}
func (s *services) SetPassword(_ context.Context, x0 auth.Actor, x1, x2, x3 string) (client.Act, error) {
	return answer[client.Act](s, "SetPassword", x0, x1, x2, x3)
}
func (s *services) RemovePassword(_ context.Context, x0 auth.Actor, x1, x2 string) (client.Act, error) {
	return answer[client.Act](s, "RemovePassword", x0, x1, x2)
}
func (s *services) EndAll(_ context.Context, x0 auth.Actor, x1, x2 string) (client.Act, error) {
	return answer[client.Act](s, "EndAll", x0, x1, x2)
}
func (s *services) CreateAccess(_ context.Context, x0 auth.Actor, x1 client.AccessRequest) (client.AccessRow, error) {
	return answer[client.AccessRow](s, "CreateAccess", x0, x1)
}
func (s *services) RevokeAccess(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](s, "RevokeAccess", x0, x1)
}

// audit is apart because its Entries would clash with nothing but reads better so.
type audit struct{ *services }

func (a audit) Entries(_ context.Context, x0 client.LedgerQuery) (client.List[client.LedgerRow], error) {
	return answer[client.List[client.LedgerRow]](a.services, "Entries", x0)
}
func (a audit) Checkpoint(_ context.Context) (client.Checkpoint, error) {
	return answer[client.Checkpoint](a.services, "Checkpoint")
}
func (a audit) Export(_ context.Context, w io.Writer, live func() error) error {
	if err := a.called("Export"); err != nil {
		return err
	}
	if err := live(); err != nil {
		return err
	}
	_, err := io.WriteString(w, "{}\n")
	return err
}

// pulse is a hand-driven api.Changes.
type pulse struct {
	mu   sync.Mutex
	seq  uint64
	more chan struct{}
	wait chan struct{} // one value for each call that began to wait
}

func newPulse() *pulse { return &pulse{more: make(chan struct{}), wait: make(chan struct{}, 100)} }

func (p *pulse) Seq() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	close(p.more)
	p.more = make(chan struct{})
}

func (p *pulse) WaitChange(ctx context.Context, seen uint64) (uint64, error) {
	for {
		p.mu.Lock()
		seq, more := p.seq, p.more
		p.mu.Unlock()
		if seq > seen {
			return seq, nil
		}
		p.wait <- struct{}{}
		select {
		case <-more:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (p *pulse) awaitWaiter(t *testing.T) {
	t.Helper()
	select {
	case <-p.wait:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody waits for a change")
	}
}

func digest(data []byte) string { sum := sha256.Sum256(data); return hex.EncodeToString(sum[:]) }

const testGroup fleet.GroupID = "g-test"
