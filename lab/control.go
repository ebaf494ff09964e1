package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
)

// What changes devices is done by the process that opened the lab, as it is the parent of their first processes.
// Processes that attached send it these requests over a socket; the owner's own calls take the same path without it.
const (
	opNew      = "new"
	opClone    = "clone"
	opFreeze   = "freeze"
	opDestroy  = "destroy"
	opBoot     = "boot"
	opReboot   = "reboot"
	opPowerCut = "powercut"
	opLink     = "link"
	opStart    = "start"
	opStop     = "stop"
	opWait     = "wait"
	opRestart  = "restart"
	opMirror   = "mirror"
)

type request struct {
	Op      string
	Device  string       `json:",omitempty"`
	Arg     string       `json:",omitempty"`
	Up      bool         `json:",omitempty"`
	Spec    *DeviceSpec  `json:",omitempty"`
	Process *ProcessSpec `json:",omitempty"`
	Archive *Archive     `json:",omitempty"`
}

type response struct {
	Error string `json:",omitempty"`
	Off   bool   `json:",omitempty"` // the error is ErrOff
}

// act does r here or has the owner do it.
func (l *Lab) act(ctx context.Context, r request) error {
	if l.owner {
		return l.perform(ctx, r)
	}
	return l.send(ctx, r)
}

func (l *Lab) perform(ctx context.Context, r request) error {
	if l.life.Err() != nil {
		return errors.New("the lab is closed")
	}
	switch r.Op {
	case opNew:
		return l.newDevice(ctx, *r.Spec)
	case opMirror:
		return l.startMirror(*r.Archive)
	}
	d, err := l.Device(r.Device)
	if err != nil {
		return err
	}
	return d.perform(ctx, r)
}

func (d *Device) perform(ctx context.Context, r request) error {
	switch r.Op {
	case opClone:
		return d.clone(ctx, r.Arg)
	case opFreeze:
		return d.freeze()
	case opDestroy:
		return d.destroy()
	case opBoot:
		return d.boot(ctx)
	case opReboot:
		return d.reboot(ctx)
	case opPowerCut:
		return d.halt()
	case opLink:
		return d.setLink(ctx, r.Up)
	case opStart:
		return d.startProcess(*r.Process)
	case opStop:
		return d.stopProcess(ctx, r.Arg)
	case opWait:
		return d.waitProcess(ctx, r.Arg)
	case opRestart:
		return d.restartProcess(ctx, r.Arg)
	}
	return fmt.Errorf("unknown request %q", r.Op)
}

func (l *Lab) controlSocket() string { return filepath.Join(l.dir, "control.sock") }

func (l *Lab) send(ctx context.Context, r request) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", l.controlSocket())
	if err != nil {
		return fmt.Errorf("reach the lab's owner: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return fmt.Errorf("ask the lab's owner: %w", err)
	}
	var answer response
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("hear from the lab's owner: %w", err))
	}
	switch {
	case answer.Off:
		return ErrOff
	case answer.Error != "":
		return errors.New(answer.Error)
	}
	return nil
}

func (l *Lab) serveControl() error {
	ln, err := net.Listen("unix", l.controlSocket())
	if err != nil {
		return fmt.Errorf("listen for requests: %w", err)
	}
	l.mu.Lock()
	l.closers = append(l.closers, ln)
	l.mu.Unlock()
	l.ending.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed with the lab
			}
			l.ending.Go(func() { l.answer(conn) })
		}
	})
	return nil
}

// answer serves one request. It ends early when the asking process hangs up or the lab closes.
func (l *Lab) answer(conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(l.life)
	defer cancel()
	defer context.AfterFunc(l.life, func() { conn.Close() })()
	var r request
	if err := json.NewDecoder(io.LimitReader(conn, 1<<20)).Decode(&r); err != nil {
		return
	}
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // returns when the other end hangs up
		cancel()
	}()
	var out response
	if err := l.check(r); err != nil {
		out.Error = err.Error()
	} else if err := l.perform(ctx, r); err != nil {
		out = response{Error: err.Error(), Off: errors.Is(err, ErrOff)}
	}
	_ = json.NewEncoder(conn).Encode(out) // whoever hung up does not want it
}

// check refuses requests that lack what their operation needs.
func (l *Lab) check(r request) error {
	if r.Op == opNew && r.Spec == nil || r.Op == opStart && r.Process == nil || r.Op == opMirror && r.Archive == nil {
		return fmt.Errorf("request %q is incomplete", r.Op)
	}
	return nil
}
