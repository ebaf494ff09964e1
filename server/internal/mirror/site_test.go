package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/content"
	"assent/content/dir"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/trust"
	"assent/trust/trusttest"
)

// book simulates the ledger's subscriptions.
type book struct {
	mu    sync.Mutex
	state *ledger.State
	feeds map[string]ledger.Feed
	next  chan struct{}
	seq   uint64
}

func newBook() *book {
	return &book{state: ledger.NewState(), feeds: map[string]ledger.Feed{}, next: make(chan struct{}), seq: 1}
}

func (b *book) Feeds() map[string]ledger.Feed {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.feeds
}

func (b *book) WaitChange(ctx context.Context, seen uint64) (uint64, error) {
	for {
		b.mu.Lock()
		seq, next := b.seq, b.next
		b.mu.Unlock()
		if seq > seen {
			return seq, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return seq, ctx.Err()
		}
	}
}

func (b *book) Act(_ context.Context, by string, build func(map[string]ledger.Feed) (ledger.Body, error)) (ledger.Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, err := build(b.feeds)
	if err != nil {
		return ledger.Entry{}, err
	}
	e, err := ledger.Make(b.state.Seq+1, time.Now(), by, body)
	if err == nil {
		err = b.state.Apply(e)
	}
	if err != nil {
		return ledger.Entry{}, err
	}
	b.feeds = maps.Clone(b.state.Feeds)
	b.seq++
	close(b.next)
	b.next = make(chan struct{})
	return e, nil
}

// shelf simulates the catalog.
type shelf struct {
	mu      sync.Mutex
	updates map[catalog.UpdateID]catalog.Update
	puts    int
	fail    error
}

func (s *shelf) Put(_ context.Context, updates []catalog.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, u := range updates {
		s.updates[u.ID] = u
		s.puts++
	}
	return nil
}

func (s *shelf) Update(id catalog.UpdateID) (catalog.Update, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.updates[id]
	return u, ok
}

func (s *shelf) versions(application string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, u := range s.updates {
		if u.Name == application {
			out = append(out, u.Version)
		}
	}
	slices.Sort(out)
	return out
}

// site is a server that follows one feed, which is served over HTTP through a handler that tests can replace.
type site struct {
	*trusttest.Feed
	t     *testing.T
	book  *book
	shelf *shelf
	data  string
	files content.Store
	m     *Mirror
	stop  func()

	mu      sync.Mutex
	between func(w http.ResponseWriter, r *http.Request, next http.Handler) // nil: the feed's own answer
	asked   map[string]int
	address string
}

var admin = auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Feed: trusttest.NewFeed(t, "acme"), t: t, book: newBook(), shelf: &shelf{updates: map[catalog.UpdateID]catalog.Update{}}, data: t.TempDir(), asked: map[string]int{}}
	next := http.FileServerFS(os.DirFS(s.Dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked[r.URL.Path]++
		between := s.between
		s.mu.Unlock()
		if between != nil {
			between(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	s.address = server.URL
	t.Cleanup(server.Close)
	t.Cleanup(func() { s.end() })
	return s
}

// handle puts a handler before the feed's own.
func (s *site) handle(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.between = f
}

// start starts the server: after end, it is a restart.
func (s *site) start(change ...func(*Config)) {
	s.t.Helper()
	root, err := os.OpenRoot(s.data)
	s.must(err)
	if err := root.Mkdir("content", 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		s.t.Fatal(err)
	}
	files, err := root.OpenRoot("content")
	s.must(err)
	s.files, err = dir.Open(files, 0)
	s.must(err)
	c := Config{Book: s.book, Catalog: s.shelf, Content: s.files, Dir: filepath.Join(s.data, "feeds"), Every: time.Hour, Now: s.Now}
	for _, f := range change {
		f(&c)
	}
	s.m, err = New(c)
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.m.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
		files.Close()
		root.Close()
	}
}

func (s *site) end() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

func (s *site) restart(change ...func(*Config)) {
	s.t.Helper()
	s.end()
	s.start(change...)
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// subscribe subscribes and waits for the first whole look.
func (s *site) subscribe() {
	s.t.Helper()
	_, err := s.m.Subscribe(s.t.Context(), admin, client.FeedRequest{Name: s.ID, URL: s.address, Root: s.Root()})
	s.must(err)
	s.must(s.look())
}

// look looks at the feed once and waits for that.
func (s *site) look() error {
	s.t.Helper()
	_, err := s.m.Refresh(s.t.Context(), admin, s.ID, client.FeedRefresh{Wait: true})
	return err
}

// filled waits until all files of the feed are here.
func (s *site) filled() client.FeedRow {
	s.t.Helper()
	s.filledUnless(nil)
	return s.row()
}

// filledUnless waits until all files of the feed are here, or something else happens.
func (s *site) filledUnless(other <-chan struct{}) bool {
	s.t.Helper()
	for range 2000 {
		if r := s.row(); !r.Fetching && r.FilesHere == r.Files && r.Files > 0 {
			return true
		}
		select {
		case <-other:
			return false
		case <-time.After(5 * time.Millisecond): // there is no signal for it: people look again, too
		}
	}
	s.t.Fatalf("the files do not come: %+v", s.row())
	return false
}

func (s *site) row() client.FeedRow {
	s.t.Helper()
	r, err := s.m.Feed(s.t.Context(), admin, s.ID)
	s.must(err)
	return r
}

// refused checks that the last look failed with this code, and whether that is an alarm.
func (s *site) refused(err error, code string, alarm bool) {
	s.t.Helper()
	if fault.From(err) == nil || fault.From(err).Code != code {
		s.t.Errorf("the look said %v, want %s", err, code)
	}
	r := s.row()
	if r.Error == nil || r.Error.Code != code || r.Error.Message == "" {
		s.t.Errorf("the status says %+v, want %s", r.Error, code)
	}
	if got := slices.ContainsFunc(r.Alarms, func(p client.FeedProblem) bool { return p.Code == code }); got != alarm {
		s.t.Errorf("alarms %+v, want %s in it: %v", r.Alarms, code, alarm)
	}
}

// device is what a device reads the server's copy with.
type device struct {
	m    *Mirror
	feed string
}

func (d device) Read(ctx context.Context, path string, most int64) (b []byte, err error) {
	f, tag, err := d.m.File(ctx, d.feed, path)
	if err != nil {
		if errors.Is(err, fault.NotFound) {
			err = fs.ErrNotExist
		}
		return nil, err
	}
	defer f.Close()
	b, err = io.ReadAll(io.LimitReader(f, most+1))
	if sum := sha256.Sum256(b); err == nil && tag != hex.EncodeToString(sum[:]) {
		return nil, errors.New("the tag is not the content's digest")
	}
	return b, err
}

// verify follows the server's copy as a device does that pinned the first root, reads all that it has, and returns how far
// it came.
func (s *site) verify() *trust.Client {
	s.t.Helper()
	c := s.metadata()
	for path := range c.Targets() {
		if _, err := c.Target(s.t.Context(), device{s.m, s.ID}, path); err != nil {
			s.t.Errorf("a device cannot read %s: %v", path, err)
		}
	}
	return c
}

// metadata is verify without payloads, which may not be here yet.
func (s *site) metadata() *trust.Client {
	s.t.Helper()
	c, err := trust.Open(s.Root(), trusttest.NewStore())
	s.must(err)
	if err := c.Refresh(s.t.Context(), device{s.m, s.ID}, s.Now()); err != nil {
		s.t.Fatalf("a device cannot verify the copy: %v", err)
	}
	for path := range c.Targets() {
		if _, err := c.Target(s.t.Context(), device{s.m, s.ID}, path); err != nil && isDocument(path) {
			s.t.Errorf("a device cannot read %s: %v", path, err)
		}
	}
	return c
}
