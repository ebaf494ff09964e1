// Package restart knows what on a device still runs as it was before an update, decides when the device may be restarted
// for it, and restarts it or its services.
//
// Looking (Device.Look) reads files only: the kernels that are installed against the one that runs, and the executable files
// that processes run although an update replaced them, with the unit that each process belongs to. It runs no program and
// interprets no script of a process (F9).
//
// Deciding (Policy.Next) is pure: no clock, no device; the time, the window and the people who are signed in come in as
// values. It guarantees that a device is never restarted outside of its window (I8), never more than MaxRestarts times in a
// day and never a second time for what a restart did not end, and that what is not known holds. Whether installations
// failed is no input: a failure never keeps the device from being restarted for what succeeded (T5).
//
// Acting goes through package command. The package keeps nothing: its caller makes each step durable before it is taken.
package restart

import (
	"slices"
	"strings"

	"assent/wire"
)

// Device reasons are those that only a restart of the device ends and that ask for it.
func deviceReason(r wire.RestartReason) bool {
	return r.Kind == wire.StalePackage || r.Kind == wire.StaleKernel || r.Kind == wire.StaleApplication
}

// Device picks the reasons that ask for a restart of the device.
func Device(reasons []wire.RestartReason) []wire.RestartReason {
	return slices.DeleteFunc(slices.Clone(reasons), func(r wire.RestartReason) bool { return !deviceReason(r) })
}

// Units lists the services among the reasons that may be restarted by themselves.
func Units(reasons []wire.RestartReason) []string {
	var out []string
	for _, r := range reasons {
		if r.Kind == wire.StaleService {
			out = append(out, r.Name)
		}
	}
	return out
}

// Names are the reasons in few words.
func Names(reasons []wire.RestartReason) string {
	var out []string
	for _, r := range reasons {
		out = append(out, r.Name)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}

// Sorted orders reasons, each once.
func Sorted(reasons []wire.RestartReason) []wire.RestartReason {
	slices.SortFunc(reasons, func(a, b wire.RestartReason) int {
		return strings.Compare(string(a.Kind)+"\x00"+a.Name+"\x00"+a.Detail, string(b.Kind)+"\x00"+b.Name+"\x00"+b.Detail)
	})
	return slices.Compact(reasons)
}
