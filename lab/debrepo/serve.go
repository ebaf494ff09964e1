package debrepo

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// Handler serves the repository at the root of its URL space, with the faults that are set at the time of each
// request. It reads everything from disk, so it sees what other processes publish.
func (r *Repo) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fault, faulty, err := r.faultFor(req.URL.Path)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case faulty:
			r.misbehave(w, req, fault)
		default:
			r.serveFile(w, req)
		}
	})
}

func (r *Repo) misbehave(w http.ResponseWriter, req *http.Request, f Fault) {
	switch f.Kind {
	case Hang:
		<-req.Context().Done()
	case Status:
		w.WriteHeader(f.Code)
	case Slow:
		r.serveFile(slowly(req.Context(), w, max(f.Rate, 1)), req)
	case Cut:
		r.serveFile(&cutWriter{ResponseWriter: w}, req)
	}
}

func (r *Repo) serveFile(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(path.Clean("/"+req.URL.Path), "/")
	file, info, err := r.open(name)
	if err != nil {
		http.NotFound(w, req)
		return
	}
	defer file.Close()
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().Unix(), info.Size()))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, req, name, info.ModTime(), file)
}

func (r *Repo) open(name string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(r.public(""))
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	file, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, nil, fs.ErrNotExist
	}
	return file, info, nil
}

// slowWriter sends a body at a fixed rate, in steps of a tenth of a second or of one byte.
type slowWriter struct {
	http.ResponseWriter
	ctx   context.Context
	step  int
	pause time.Duration
}

func slowly(ctx context.Context, w http.ResponseWriter, rate int) *slowWriter {
	step := max(rate/10, 1)
	return &slowWriter{w, ctx, step, time.Second * time.Duration(step) / time.Duration(rate)}
}

func (s *slowWriter) Write(data []byte) (int, error) {
	sent := 0
	for sent < len(data) {
		n, err := s.ResponseWriter.Write(data[sent:min(sent+s.step, len(data))])
		sent += n
		if err != nil {
			return sent, err
		}
		if err := http.NewResponseController(s.ResponseWriter).Flush(); err != nil {
			return sent, err
		}
		select {
		case <-s.ctx.Done():
			return sent, s.ctx.Err()
		case <-time.After(s.pause):
		}
	}
	return sent, nil
}

// cutWriter breaks the connection after half of the announced body.
type cutWriter struct{ http.ResponseWriter }

func (c *cutWriter) ReadFrom(src io.Reader) (int64, error) {
	data, err := io.ReadAll(src)
	if err != nil {
		return 0, err
	}
	n, err := c.Write(data)
	return int64(n), err
}

func (c *cutWriter) Write(data []byte) (int, error) {
	// What was written counts only once it is flushed; the abort after it is what the client sees.
	_, _ = c.ResponseWriter.Write(data[:len(data)/2])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}
