package lab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNetNS runs fn on a thread that is in the network namespace file, and puts the thread back afterwards. Sockets
// that fn makes stay in that namespace, whichever thread uses them later.
func inNetNS(file string, fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := enterNetNS(file)
		if err != nil {
			runtime.UnlockOSThread() // the thread did not move
			result <- err
			return
		}
		err = fn()
		if back() == nil {
			runtime.UnlockOSThread()
		}
		// Otherwise the goroutine ends locked, and the runtime ends the stray thread with it.
		result <- err
	}()
	return <-result
}

func enterNetNS(file string) (back func() error, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open own network namespace: %w", err)
	}
	there, err := os.Open(file)
	if err != nil {
		home.Close()
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		home.Close()
		return nil, fmt.Errorf("enter network namespace %s: %w", file, err)
	}
	return func() error {
		defer home.Close()
		return unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
	}, nil
}

// onDoomedThread runs fn on a thread that is thrown away afterwards, so fn may change namespaces and the root
// directory for good. It never runs on the main thread, which cannot be thrown away and which /proc/self shows.
func onDoomedThread(fn func() error) error {
	result := make(chan error, 1)
	var start func()
	start = func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() != os.Getpid() {
			result <- fn()
			return
		}
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() { defer close(done); start() }() // cannot land here while this goroutine holds the main thread
		<-done
	}
	go start()
	return <-result
}
