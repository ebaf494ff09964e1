package api_test

import (
	"context"
	"io"
	"sync"
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

func answer[T any](s *services, name string) (T, error) {
	var zero T
	return zero, s.called(name)
}

func (s *services) List(context.Context, auth.Actor, client.Filter, client.Page) (client.List[client.UpdateRow], error) {
	return answer[client.List[client.UpdateRow]](s, "List")
}
func (s *services) Get(context.Context, auth.Actor, string, string) (client.UpdateDetail, error) {
	return answer[client.UpdateDetail](s, "Get")
}
func (s *services) Decide(context.Context, auth.Actor, client.Decide) (client.Outcome, error) {
	return answer[client.Outcome](s, "Decide")
}
func (s *services) Rollback(context.Context, auth.Actor, client.RollbackRequest) (client.RollbackOutcome, error) {
	return answer[client.RollbackOutcome](s, "Rollback")
}
func (s *services) Exceptions(context.Context, auth.Actor) (client.List[client.ExceptionRow], error) {
	return answer[client.List[client.ExceptionRow]](s, "Exceptions")
}
func (s *services) Except(context.Context, auth.Actor, client.ExceptionRequest) (client.Act, error) {
	return answer[client.Act](s, "Except")
}
func (s *services) Unexcept(context.Context, auth.Actor, int64) (client.Act, error) {
	return answer[client.Act](s, "Unexcept")
}
func (s *services) Why(context.Context, auth.Actor, string, string) (client.Why, error) {
	return answer[client.Why](s, "Why")
}
func (s *services) Queue(context.Context, auth.Actor, client.QueueQuery, client.Page) (client.List[client.QueueRow], error) {
	return answer[client.List[client.QueueRow]](s, "Queue")
}
func (s *services) Status(context.Context, auth.Actor) (client.Status, error) {
	return answer[client.Status](s, "Status")
}
func (s *services) Devices(context.Context, auth.Actor, client.DeviceQuery, client.Page) (client.List[client.DeviceRow], error) {
	return answer[client.List[client.DeviceRow]](s, "Devices")
}
func (s *services) Device(context.Context, auth.Actor, string) (client.DeviceDetail, error) {
	return answer[client.DeviceDetail](s, "Device")
}
func (s *services) ChangeDevices(context.Context, auth.Actor, client.DeviceChange) (client.Act, error) {
	return answer[client.Act](s, "ChangeDevices")
}
func (a audit) Events(context.Context, auth.Actor, client.EventQuery) (client.List[client.Event], error) {
	return answer[client.List[client.Event]](a.services, "Events")
}
func (s *services) Groups(context.Context, auth.Actor) (client.List[client.GroupRow], error) {
	return answer[client.List[client.GroupRow]](s, "Groups")
}
func (s *services) CreateGroup(context.Context, auth.Actor, client.GroupRequest) (client.GroupRow, error) {
	return answer[client.GroupRow](s, "CreateGroup")
}
func (s *services) ChangeGroup(context.Context, auth.Actor, string, client.GroupRequest) (client.GroupRow, error) {
	return answer[client.GroupRow](s, "ChangeGroup")
}
func (s *services) DeleteGroup(context.Context, auth.Actor, string) (client.Act, error) {
	return answer[client.Act](s, "DeleteGroup")
}
func (s *services) Tokens(context.Context, auth.Actor) (client.List[client.TokenRow], error) {
	return answer[client.List[client.TokenRow]](s, "Tokens")
}
func (s *services) CreateToken(context.Context, auth.Actor, client.TokenRequest) (client.TokenRow, error) {
	return answer[client.TokenRow](s, "CreateToken")
}
func (s *services) RevokeToken(context.Context, auth.Actor, string) (client.Act, error) {
	return answer[client.Act](s, "RevokeToken")
}
func (s *services) Operators(context.Context, auth.Actor) (client.List[client.OperatorRow], error) {
	return answer[client.List[client.OperatorRow]](s, "Operators")
}
func (s *services) SetOperator(context.Context, auth.Actor, client.OperatorRequest) (client.OperatorRow, error) {
	return answer[client.OperatorRow](s, "SetOperator")
}
func (s *services) RemoveOperator(context.Context, auth.Actor, string) (client.Act, error) {
	return answer[client.Act](s, "RemoveOperator")
}
func (s *services) Accesses(context.Context, auth.Actor) (client.List[client.AccessRow], error) {
	return answer[client.List[client.AccessRow]](s, "Accesses")
}
func (s *services) CreateAccess(context.Context, auth.Actor, client.AccessRequest) (client.AccessRow, error) {
	return answer[client.AccessRow](s, "CreateAccess")
}
func (s *services) RevokeAccess(context.Context, auth.Actor, string) (client.Act, error) {
	return answer[client.Act](s, "RevokeAccess")
}

// audit is apart because its Entries would clash with nothing but reads better so.
type audit struct{ *services }

func (a audit) Entries(context.Context, client.LedgerQuery) (client.List[client.LedgerRow], error) {
	return answer[client.List[client.LedgerRow]](a.services, "Entries")
}
func (a audit) Checkpoint(context.Context) (client.Checkpoint, error) {
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
}

func newPulse() *pulse { return &pulse{more: make(chan struct{})} }

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
		select {
		case <-more:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

const testGroup fleet.GroupID = "g-test"
