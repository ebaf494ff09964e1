package mirror

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"assent/content"
	"assent/fault"
	"assent/trust"
)

// errComing is the answer while a file is on its way.
var errComing = fault.New(fault.Unavailable, "feed_file_coming", "The server is still fetching this file from its feed; ask again later.")

// againAfter is how long a file that could not be fetched is not asked for again.
const againAfter = 30 * time.Second

// maxFlights bounds how many files devices' asking has under way at once.
const maxFlights = 4

// flight is one file on its way.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// flights are the files on their way: one at a time for each digest, whoever asks.
type flights struct {
	mu     sync.Mutex
	ctx    context.Context // ends with Mirror.Run; nil before it
	closed bool
	wg     sync.WaitGroup
	active map[string]*flight
	failed map[string]failure
	asked  chan struct{} // one token for each that a device's asking started
	tidied bool
}

type failure struct {
	at  time.Time
	err error
}

func (fl *flights) init() {
	fl.active, fl.failed, fl.asked = map[string]*flight{}, map[string]failure{}, make(chan struct{}, maxFlights)
}

func (fl *flights) open(ctx context.Context) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.ctx = ctx
}

// close waits for the last ones; their context has ended.
func (fl *flights) close() {
	fl.mu.Lock()
	fl.closed = true
	fl.mu.Unlock()
	fl.wg.Wait()
}

// first reports true once.
func (fl *flights) first() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	was := fl.tidied
	fl.tidied = true
	return !was
}

// start puts a file on its way unless it is already. One that failed a moment ago is left alone, except for a look's sake.
func (fl *flights) start(digest string, now time.Time, look bool, fetch func(context.Context) error) *flight {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if f := fl.active[digest]; f != nil {
		return f
	}
	f := &flight{done: make(chan struct{})}
	old, failed := fl.failed[digest]
	switch {
	case failed && !look && now.Sub(old.at).Abs() < againAfter:
		f.err = old.err
	case fl.ctx == nil || fl.closed:
		f.err = errComing
	default:
		delete(fl.failed, digest)
		fl.active[digest] = f
		fl.wg.Go(func() { fl.fly(f, digest, now, fetch) })
		return f
	}
	close(f.done)
	return f
}

func (fl *flights) fly(f *flight, digest string, now time.Time, fetch func(context.Context) error) {
	err := fetch(fl.ctx)
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.active, digest)
	if f.err = err; err != nil {
		for d, old := range fl.failed { // what is old is forgotten
			if now.Sub(old.at).Abs() >= againAfter {
				delete(fl.failed, d)
			}
		}
		fl.failed[digest] = failure{at: now, err: err}
	}
	close(f.done)
}

// target opens a target, which is fetched when it is not here.
func (m *Mirror) target(ctx context.Context, f *follower, t trust.Target) (content.File, error) {
	if t.Size <= maxProofOnAsk && m.proofs.claim(t.SHA256, m.Now()) {
		if _, err := m.proofread(ctx, t); err != nil {
			return nil, err
		}
	}
	file, err := m.Content.Open(ctx, t.SHA256)
	if !errors.Is(err, content.ErrUnknown) {
		return file, err
	}
	wait := time.NewTimer(m.Patience)
	defer wait.Stop()
	select {
	case m.flights.asked <- struct{}{}:
		defer func() { <-m.flights.asked }()
	case <-wait.C:
		return nil, errComing
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	flight := m.flights.start(t.SHA256, m.Now(), false, func(ctx context.Context) error { return f.fetch(ctx, t) })
	select {
	case <-flight.done:
		if flight.err != nil {
			return nil, errComing.Because(flight.err)
		}
		return m.Content.Open(ctx, t.SHA256)
	case <-wait.C:
		return nil, errComing
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch fetches a target into the content store.
func (f *follower) fetch(ctx context.Context, t trust.Target) (err error) {
	ctx, cancel := context.WithTimeout(ctx, budget(t.Size))
	defer cancel()
	body := &resuming{ctx: ctx, src: f.src, path: trust.TargetFile(t), count: func(n int) { f.count(int64(n)) }}
	defer func() { err = errors.Join(err, body.Close()) }()
	err = f.m.Content.Put(ctx, body, t.Size, t.SHA256)
	f.count(-body.at)
	switch {
	case err == nil:
		f.m.proofs.came(t.SHA256, f.m.Now())
		f.came(t)
		return nil
	case errors.Is(err, content.ErrMismatch):
		return trust.ErrMismatch.Because(fmt.Errorf("%s: %w", t.Path, err))
	case content.Unusable(err):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, context.DeadlineExceeded):
		return trust.ErrUnreachable.Because(fmt.Errorf("%s: %w", t.Path, err))
	}
	return trust.ErrUnreachable.Because(fmt.Errorf("fetch %s: %w", t.Path, err))
}

// count counts bytes that came.
func (f *follower) count(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.fill.now += n
}

// came counts a file that is here.
func (f *follower) came(t trust.Target) {
	if !isFile(t) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.fill.here++
	f.status.fill.bytesHere += t.Size
}

// wakeFill has the files looked through again.
func (f *follower) wakeFill() {
	select {
	case f.filled <- struct{}{}:
	default:
	}
}

// fill fetches the files of the present edition, again after each look, until ctx ends.
func (f *follower) fill(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.filled:
		}
		if e := f.edition(); e != nil {
			err := f.fillFrom(ctx, e)
			f.mu.Lock()
			news := err != nil && ctx.Err() == nil && code(err) != code(f.status.fill.err)
			f.status.fill.fetching, f.status.fill.err = false, err
			f.mu.Unlock()
			if news {
				f.m.Log.Warn("files of a feed could not be fetched", "feed", f.feed.ID, "err", err)
			}
		}
	}
}

// fillFrom fetches what is missing of an edition, and anew what turns out to be damaged.
func (f *follower) fillFrom(ctx context.Context, e *edition) error {
	err := f.fetchMissing(ctx, e)
	damaged, failed := f.proofreadAll(ctx, e)
	if damaged && failed == nil && f.edition() == e {
		return f.fetchMissing(ctx, e)
	}
	return cmp.Or(err, failed)
}

// fetchMissing fetches what is missing of an edition, the smallest files first. A file that cannot be had does not keep the
// others from coming; a full disk, or a bucket that is away, does.
func (f *follower) fetchMissing(ctx context.Context, e *edition) error {
	missing, err := f.missing(ctx, e)
	if err != nil {
		return err
	}
	var last error
	for _, t := range missing {
		flight := f.m.flights.start(t.SHA256, f.m.Now(), true, func(ctx context.Context) error { return f.fetch(ctx, t) })
		select {
		case <-flight.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if flight.err != nil {
			last = flight.err
		}
		if content.Unusable(flight.err) || f.edition() != e {
			return last
		}
	}
	return last
}

// missing lists the files of an edition that are not here, and counts all.
func (f *follower) missing(ctx context.Context, e *edition) ([]trust.Target, error) {
	var out []trust.Target
	p := progress{}
	for _, t := range e.wanted() {
		here, err := f.m.Content.Has(ctx, t.SHA256)
		if err != nil {
			return nil, fmt.Errorf("look for files of the feed: %w", err)
		}
		p.files++
		p.bytes += t.Size
		if here {
			p.here++
			p.bytesHere += t.Size
			continue
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b trust.Target) int { return cmp.Compare(a.Size, b.Size) })
	f.mu.Lock()
	defer f.mu.Unlock()
	p.fetching, p.err, p.now = len(out) > 0, f.status.fill.err, f.status.fill.now
	f.status.fill = p
	return out, nil
}

// memory is a file in memory.
type memory struct {
	*bytes.Reader
}

func inMemory(b []byte) content.File { return memory{bytes.NewReader(b)} }

// Close implements io.Closer.
func (memory) Close() error { return nil }

// Size implements content.File.
func (m memory) Size() int64 { return m.Reader.Size() }
