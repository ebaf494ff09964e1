// Package lab builds real devices, a real network and real apt repositories on one Linux machine, as root, for
// tests, for the demonstration and for trying things by hand. Nothing in it is simulated that could be real:
// devices run Debian's own dpkg and apt, and fetch over TCP from servers with signed indexes.
//
// A Lab is one network namespace with a bridge, 10.77.0.1/16, and any number of devices. A Device is an overlay on
// a shared base in mount, pid, uts, ipc and network namespaces of its own; making one takes some tens of
// milliseconds. Devices reach only addresses inside their lab: there is no uplink. The process that opened the lab
// stays outside; it listens and dials inside through Net, so a server under test can run in the test process.
//
// See the example for how to use it, AcmePackages for ready packages to play with, and debrepo for making others and
// for the faults of archives. The program assent-lab does the same from a shell.
//
// # What it guarantees
//
// Nothing of a lab outlives it. Devices hold a lock file that dies with the process that opened the lab, so they end
// even if that process is killed with SIGKILL; their mounts and interfaces exist only in their own namespaces and
// vanish with them. What a killed lab does leave (its named network namespace, empty control groups, a directory, small
// disks) is removed by the next Open of any lab, or by Sweep.
//
// Several labs, in several processes, run side by side. Caches (bases, archive files) are shared and safe for that.
//
// # What it does not do
//
// Devices share the kernel and clock of the machine and are no security boundary: root in a device is root on the
// machine. Without DeviceSpec.Systemd process 1 is a small shell that reaps orphans, and services are what Device.Start
// runs; with it process 1 is the base's own systemd, in control groups of its own, and Start works beside it. It needs
// a mounted cgroup2 file system and finds no controllers where version 1 has them, so its units have no resource limits.
// A power cut kills every process and loses nothing that the kernel had taken, so it shows interrupted package
// managers but not lost disk writes.
package lab
