// Package debrepo builds Debian packages and signed apt repositories in pure Go, for tests and demonstrations.
//
// A Package is a plain struct; Deb turns it into the bytes of a .deb, and the same struct always gives the same
// bytes. A Repo is a directory: any process may open it and publish a new state of a suite into it, and any
// number of processes may serve it over HTTP at the same time. A suite may hold many versions of one package,
// which reprepro cannot do.
//
// What it guarantees: a client that fetches while a state is being published sees the old state or the new one,
// never a mixture (every file is renamed into place, indexes are also kept by hash, InRelease comes last); and a
// new state is visible to apt at once, because the served modification times always advance by at least the one
// second that apt's If-Modified-Since can tell apart.
//
// What it does not do: it is no archive manager. There are no sources, no components but "main", no pdiffs, no
// contents files. Signing keys are made afresh for each repository and lie unprotected beside it; they are
// worth nothing outside the lab.
//
// The faults that a real archive or an attacker can show are first-class: see Seal for signatures, the Tamper
// and Remove methods of Repo for contents, and Fault for the behaviour of the server.
package debrepo
