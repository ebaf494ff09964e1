package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Watch is what a follower of a detached run wants to know.
type Watch struct {
	Output func(line string) // each line of the steps' output; may be nil
	Status func(line string) // each line that they wrote to StatusFd; may be nil
	// Deadline is when a run counts as overrunning, from the call of Wait; zero means never. Overrun is then
	// called once. The run goes on and so does the wait: a package manager is never ended half way.
	Deadline time.Duration
	Overrun  func()
}

// pollEvery is how often a follower looks at the files of a run. They are files and not pipes so that the run
// does not depend on its followers, which leaves looking.
const pollEvery = 25 * time.Millisecond

// Wait follows a run until it is over. When ctx is done it stops following, with ctx's error; the run goes on.
// Any process may wait for a run, at any time, also after its end, and sees all of its output.
func (h Handle) Wait(ctx context.Context, w Watch) (Exit, error) {
	output, status := newTail(h.Dir, outputFile, w.Output), newTail(h.Dir, statusFile, w.Status)
	defer output.close()
	defer status.close()
	begin, overrun := time.Now(), w.Deadline <= 0
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		alive := h.Alive() // asked before reading: what was written before the end is then always read
		output.read()
		status.read()
		if !alive {
			output.end()
			status.end()
			return h.Exit(), nil
		}
		if !overrun && time.Since(begin) > w.Deadline {
			overrun = true
			if w.Overrun != nil {
				w.Overrun()
			}
		}
		select {
		case <-ctx.Done():
			return Exit{}, fmt.Errorf("wait for the run in %s: %w", h.Dir, ctx.Err())
		case <-tick.C:
		}
	}
}

// Output returns the end of what the run's steps printed, at most limit bytes.
func (h Handle) Output(limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(h.Dir, outputFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read output of the run in %s: %w", h.Dir, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read output of the run in %s: %w", h.Dir, err)
	}
	if _, err := f.Seek(max(0, info.Size()-limit), io.SeekStart); err != nil {
		return nil, fmt.Errorf("read output of the run in %s: %w", h.Dir, err)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// tail hands out the lines of a growing file.
type tail struct {
	path   string
	emit   func(string)
	file   *os.File
	offset int64
	lines  lineBuffer
	buf    []byte
}

func newTail(dir, name string, emit func(string)) *tail {
	t := &tail{path: filepath.Join(dir, name), emit: emit}
	if emit == nil {
		t.emit = func(string) {}
	}
	return t
}

// read hands out what is new. Errors are not fatal to a follower: the next look may succeed, and the verdict
// on a run never comes from its output.
func (t *tail) read() {
	if t.file == nil {
		f, err := os.Open(t.path)
		if err != nil {
			return
		}
		t.file, t.buf = f, make([]byte, 32<<10)
	}
	if info, err := t.file.Stat(); err == nil && info.Size() < t.offset {
		t.offset = 0 // it was cut because it had grown too long
	}
	for {
		n, err := t.file.ReadAt(t.buf, t.offset)
		t.offset += int64(n)
		t.lines.add(t.buf[:n], t.emit)
		if err != nil || n == 0 {
			return
		}
	}
}

func (t *tail) end() { t.lines.flush(t.emit) }

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
	}
}
