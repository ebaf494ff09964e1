package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"assent/fault"
	"assent/server/internal/job"
)

// How a page is told what happens (server-sent events). The stream ends by itself, so that a page that nobody looks at does
// not hold a connection for ever; it does not count as use of the session (N22).
const (
	streamLife   = 10 * time.Minute
	streamPulse  = 15 * time.Second // so that a dead connection, and a session that ended, are noticed
	streamSettle = 500 * time.Millisecond
	streamWrite  = 10 * time.Second // a reader that takes nothing is let go

	maxStreams    = 1000 // in all
	maxStreamsOne = 8    // of one operator
)

// streams counts the open streams.
type streams struct {
	mu  sync.Mutex
	all int
	one map[string]int
}

// enter counts a stream until done is called, or refuses it.
func (s *streams) enter(operator string) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.one == nil {
		s.one = map[string]int{}
	}
	if s.all >= maxStreams || s.one[operator] >= maxStreamsOne {
		return nil, fault.New(fault.Unavailable, "too_many_streams", "Too many pages are told of changes already; load the page again to see what is new.")
	}
	s.all++
	s.one[operator]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.one[operator]--; s.one[operator] == 0 {
			delete(s.one, operator)
		}
	}, nil
}

// stream sends a piece of a page, and sends it again whenever it is another after a change. view makes what the template
// name shows. What no change announces, such as what a device says it is doing, is looked at each time look is over. With
// once=1 in the address it ends after the first.
func (s *server) stream(w http.ResponseWriter, v *Visit, name string, look time.Duration, view func() (any, error)) error {
	done, err := s.streams.enter(v.Who().Name)
	if err != nil {
		return err
	}
	defer done()
	seen := s.Changes.Seq() // before it is looked at, so that no change is missed
	sent, err := s.piece(name, view)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	if !tell(w, "piece", sent) || v.Query().Get("once") != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(v.Context(), streamLife)
	defer cancel()
	for {
		pulse, stop := context.WithTimeout(ctx, look)
		next, err := s.Changes.WaitChange(pulse, seen)
		stop()
		switch {
		case ctx.Err() != nil || s.live(v) != nil:
			tell(w, "end", "")
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			if !tell(w, "pulse", "") {
				return nil
			}
		case err != nil:
			return nil //nolint:nilerr // the answer has begun; the browser asks again
		default:
			if seen = next; !job.Pause(ctx, streamSettle) {
				continue
			}
		}
		now, err := s.piece(name, view)
		if err != nil {
			tell(w, "end", "")
			return nil //nolint:nilerr // likewise; what it is about may be gone
		}
		if now != sent && !tell(w, "piece", now) {
			return nil
		}
		sent = now
	}
}

// piece renders a template without the layout.
func (s *server) piece(name string, view func() (any, error)) (string, error) {
	shown, err := view()
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := s.views.byName[name].ExecuteTemplate(&out, "content", shown); err != nil {
		return "", fmt.Errorf("render the piece %s: %w", name, err)
	}
	return out.String(), nil
}

// tell sends one event and says whether anybody is still there.
func tell(w http.ResponseWriter, event, data string) bool {
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(streamWrite)) // a writer without deadlines needs none
	var text strings.Builder
	text.WriteString("event: " + event + "\n")
	for line := range strings.SplitSeq(data, "\n") {
		text.WriteString("data: " + strings.TrimSuffix(line, "\r") + "\n")
	}
	text.WriteString("\n")
	if _, err := w.Write([]byte(text.String())); err != nil {
		return false
	}
	err := c.Flush()
	return err == nil || errors.Is(err, http.ErrNotSupported)
}
