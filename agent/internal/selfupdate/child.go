package selfupdate

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
)

// What a started version is told in its environment, and the numbers of its pipes.
const (
	envPayload   = "ASSENT_AGENT_PAYLOAD"   // the payload that it came in
	envProbation = "ASSENT_AGENT_PROBATION" // set until it has had an answer from the server
	wordFd       = 3                        // it writes here what the launcher should know
	lifeFd       = 4                        // it ends here when the launcher does
	reached      = "reached the server\n"
)

// Child is the launcher as a version sees it that was started by one.
type Child struct {
	Payload   string // SHA-256 of the payload that this version came in, hex
	probation bool
	word      *os.File
	life      *os.File
	once      sync.Once
	proven    chan struct{}
}

// Attach finds the launcher that started this process; nil when none did.
func Attach() *Child {
	payload := os.Getenv(envPayload)
	if payload == "" {
		return nil
	}
	c := &Child{Payload: payload, probation: os.Getenv(envProbation) != "", proven: make(chan struct{})}
	os.Unsetenv(envPayload)
	os.Unsetenv(envProbation)
	syscall.CloseOnExec(wordFd)
	syscall.CloseOnExec(lifeFd)
	c.word, c.life = os.NewFile(wordFd, "launcher"), os.NewFile(lifeFd, "launcher's life")
	if !c.probation {
		close(c.proven)
	}
	return c
}

// Reached tells the launcher that the server answered this version.
func (c *Child) Reached() {
	c.once.Do(func() {
		_, _ = c.word.WriteString(reached) // without a launcher there is no probation either
		if c.probation {
			close(c.proven)
		}
	})
}

// Await waits until this version has reached the server, if it is on probation: before that it must not act.
func (c *Child) Await(ctx context.Context) {
	select {
	case <-c.proven:
	case <-ctx.Done():
	}
}

// Context ends with the launcher.
func (c *Child) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		var b [1]byte
		for {
			if _, err := c.life.Read(b[:]); err != nil && !errors.Is(err, syscall.EINTR) {
				cancel()
				return
			}
		}
	}()
	return ctx, cancel
}

// environment is what a version is started with: that of the launcher, and what Attach reads. The watchdog asks for this
// process's number, which is not the launcher's.
func environment(p Program, inherited []string) []string {
	var env []string
	for _, v := range inherited {
		if !strings.HasPrefix(v, "WATCHDOG_PID=") {
			env = append(env, v)
		}
	}
	env = append(env, envPayload+"="+p.Payload)
	if !p.Reached {
		env = append(env, envProbation+"=1")
	}
	return env
}
