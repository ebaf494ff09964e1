// Package pkgmgrtest is the behaviour suite that every package manager backend passes: what pkgmgr's contract says,
// shown with the real tool on real devices of the lab, with real repositories and real faults.
//
// A backend runs inside the device, where its files, locks and processes are. A driver program of its own, which the test
// builds and installs as the device's agent, answers calls there (Serve); a Device here is the other end, so that the
// test can act from outside in the middle of a call: publish, hold a lock, kill.
//
// It needs root and the Debian packages that the lab needs, and fails without them.
package pkgmgrtest
