package uplink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFeed_ReadsFilesFromAnOffsetAndKnowsWhatIsNotThere(t *testing.T) {
	content := []byte(strings.Repeat("0123456789", 1000))
	ranges := true
	ca := newAuthority(t)
	s := &server{ca: ca, name: "assent.test", handler: func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/agent/v1/feed/acme/targets/payloads/a b.x":
			http.NotFound(w, r)
		case ranges:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		default:
			_, _ = w.Write(content)
		}
	}}
	c := client(t, ca, s.listen(t))
	for _, knows := range []bool{true, false} {
		ranges = knows
		for _, offset := range []int64{0, 1, 9_999} {
			body, size, err := c.Feed(t.Context(), "acme", "targets/payloads/a b.x", offset)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, content[offset:]) || knows && size != int64(len(content)) {
				t.Errorf("ranges %v, offset %d: %d bytes of %d, %v", knows, offset, len(got), size, err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	var refused *Refused
	if _, _, err := c.Feed(t.Context(), "acme", "metadata/2.root.json", 0); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &refused) {
		t.Errorf("a file that is not there: %v", err)
	}
	hits := s.hits.Load()
	for _, bad := range [][2]string{{"acme", "../plan"}, {"..", "x"}, {"a/b", "x"}, {"acme", "/x"}, {"acme", ""}, {"", "x"}} {
		if _, _, err := c.Feed(t.Context(), bad[0], bad[1], 0); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
	if s.hits.Load() != hits {
		t.Error("the server was asked for what is no file of a feed")
	}
}

func TestFeed_AnswerThatDoesNotBeginWhereAskedOrIsEncodedIsRefused(t *testing.T) {
	ca := newAuthority(t)
	header := map[string]string{}
	s := &server{ca: ca, name: "assent.test", handler: func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(http.StatusPartialContent)
	}}
	c := client(t, ca, s.listen(t))
	for _, h := range []map[string]string{{"Content-Range": "bytes 4-9/10"}, {"Content-Range": "nonsense"}, {}, {"Content-Range": "bytes 5-9/10", "Content-Encoding": "zstd"}} {
		header = h
		if _, _, err := c.Feed(t.Context(), "acme", "x", 5); err == nil {
			t.Errorf("%v: accepted", h)
		}
	}
}

// silent is a body that gives nothing until ctx is done.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, context.Cause(s.ctx) }
func (silent) Close() error               { return nil }

func TestFeed_ServerThatSendsNothingIsGivenUpAndASlowReaderIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := newStalling(cancel)
		s.body = io.NopCloser(strings.NewReader("ab"))
		for range 2 {
			if _, err := s.Read(make([]byte, 1)); err != nil || ctx.Err() != nil {
				t.Fatal(err, ctx.Err())
			}
			time.Sleep(10 * feedStall) // the reader's own time
		}
		s.body = silent{ctx}
		began := time.Now()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errStalled) || time.Since(began) != feedStall {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
