package process

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

func TestOwnProcessHasUsedSomething(t *testing.T) {
	m, err := Memory(os.Getpid())
	if err != nil || m["VmRSS"] < 1 || m["VmHWM"] < m["VmRSS"]/2 {
		t.Errorf("%v, %v", m, err)
	}
	if CPU(os.Getpid()) <= 0 {
		t.Error("no CPU time")
	}
	if _, err := Memory(-1); err == nil {
		t.Error("a process that is not there has memory")
	}
}

func TestAllowFiles_SaysWhatToDoWhereTheKernelRefuses(t *testing.T) {
	if err := AllowFiles(100); err != nil {
		t.Error(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := AllowFiles(1 << 40); !errors.Is(err, ErrFiles) {
		t.Errorf("more files than any kernel allows: %v", err)
	}
	var after syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &after); err != nil || after != before {
		t.Errorf("the refusal left %+v of %+v", after, before)
	}
}
