// Package sizing estimates what a server for a fleet needs, from constants that the benchmark measured on one machine,
// and shows the arithmetic. It is pure: no clock, database or network.
//
// Guarantees: each line says how its figure came about; where a fleet differs from the one that was measured, the
// estimate errs upwards. It promises nothing about other machines: a core of another kind does more or less.
package sizing

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"assent/fault"
)

// Constants are what the benchmark measured; `go run ./bench --constants` writes them. Times are microseconds of one core.
type Constants struct {
	Machine string `json:"machine"` // what it was measured on, when, and on which commit

	CheckIn   float64 `json:"check_in_us"`          // a steady check-in (P1w)
	Change    float64 `json:"state_change_us"`      // a message that changes a device's state, made durable; the server's part (P1b)
	Handshake float64 `json:"handshake_us"`         // a connection with a full handshake (P13)
	Resumed   float64 `json:"handshake_resumed_us"` // one that resumes (P13r)
	Poll      float64 `json:"parked_poll_kib"`      // memory of a connection with a parked long poll (P12)

	Devices int     `json:"fleet_devices"` // the fleet whose memory and database were measured (P4)
	Updates int     `json:"fleet_updates"`
	Memory  float64 `json:"fleet_memory_mib"`   // of the server's process
	Disk    float64 `json:"fleet_database_mib"` // of the SQLite file
	Start   float64 `json:"fleet_start_s"`      // CPU time from the start to the first correct answer (P7)
}

//go:embed measured.json
var measured []byte

// Measured are the constants of this build.
func Measured() (Constants, error) {
	var c Constants
	if err := json.Unmarshal(measured, &c); err != nil {
		return c, fmt.Errorf("read the measured constants: %w", err)
	}
	return c, nil
}

// Fleet is what a server is to be sized for.
type Fleet struct {
	Devices  int           `json:"devices"`
	Updates  int           `json:"updates"`     // distinct ones that some device could take
	Interval time.Duration `json:"interval_ns"` // between two check-ins of a device without long poll
	Installs float64       `json:"installs"`    // of one device in a day
	Cores    int           `json:"cores"`       // of the server
}

// Defaults of a Fleet.
const (
	DefaultUpdates  = 10_000
	DefaultInterval = time.Minute
	DefaultInstalls = 2
	DefaultCores    = 2
)

// reportsPerInstall are the states that an agent reports of one installation.
const reportsPerInstall = 5

// Line is one figure with how it came about.
type Line struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	How   string  `json:"how"`
}

// Estimate is what a server needs.
type Estimate struct {
	Fleet    Fleet     `json:"fleet"`
	Measured Constants `json:"measured"`
	Lines    []Line    `json:"lines"`
	Advice   []string  `json:"advice"`
}

// Limits beyond which an estimate would be a guess.
const (
	maxDevices = 10_000_000
	maxUpdates = 1_000_000
)

// For estimates a fleet. The refusals name the field.
func For(f Fleet, c Constants) (Estimate, error) {
	invalid := func(field, format string, args ...any) (Estimate, error) {
		return Estimate{}, fault.New(fault.Invalid, field+"_invalid", format, args...).On(field)
	}
	switch {
	case f.Devices < 1 || f.Devices > maxDevices:
		return invalid("devices", "Give 1 to %d devices.", maxDevices)
	case f.Updates < 1 || f.Updates > maxUpdates:
		return invalid("updates", "Give 1 to %d updates.", maxUpdates)
	case f.Interval < time.Second || f.Interval > 24*time.Hour:
		return invalid("interval", "The time between check-ins goes from a second to a day.")
	case f.Installs < 0 || f.Installs > 1000:
		return invalid("installs", "A device installs 0 to 1000 updates in a day.")
	case f.Cores < 1 || f.Cores > 1024:
		return invalid("cores", "A server has 1 to 1024 cores.")
	}
	e := Estimate{Fleet: f, Measured: c, Lines: []Line{c.cpu(f), c.changes(f), c.storm(f), c.memory(f), c.connections(f), c.disk(f), c.history(f), c.start(f)}}
	e.Advice = advice(e)
	return e, nil
}

// cpu is the share of one core that steady check-ins take.
func (c Constants) cpu(f Fleet) Line {
	rate := float64(f.Devices) / f.Interval.Seconds()
	return Line{What: "steady check-ins", Value: rate * c.CheckIn / 1e6, Unit: "cores",
		How: fmt.Sprintf("%d devices / %v = %.0f check-ins/s × %.1f µs", f.Devices, f.Interval, rate, c.CheckIn)}
}

func (c Constants) changes(f Fleet) Line {
	rate := float64(f.Devices) * f.Installs * reportsPerInstall / (24 * time.Hour).Seconds()
	return Line{What: "reports of installations, spread over the day", Value: rate * c.Change / 1e6, Unit: "cores",
		How: fmt.Sprintf("%d devices × %g installs × %d reports / 86,400 s = %.1f/s × %.0f µs", f.Devices, f.Installs, reportsPerInstall, rate, c.Change)}
}

// storm is how long it takes until all devices are back after a restart.
func (c Constants) storm(f Fleet) Line {
	return Line{What: "all devices connect anew at once", Value: float64(f.Devices) * c.Handshake / 1e6 / float64(f.Cores), Unit: "s",
		How: fmt.Sprintf("%d full handshakes × %.0f µs / %d cores; resumed ones take %.0f µs", f.Devices, c.Handshake, f.Cores, c.Resumed)}
}

// scale is how much larger a fleet is than the measured one. More updates on fewer devices count as if each device had
// more of them: that is more than is needed.
func (c Constants) scale(f Fleet) float64 {
	return float64(f.Devices) / float64(c.Devices) * max(1, float64(f.Updates)/float64(c.Updates))
}

func (c Constants) memory(f Fleet) Line {
	return Line{What: "memory for the fleet", Value: base + c.Memory*c.scale(f), Unit: "MiB",
		How: fmt.Sprintf("%d MiB + %.0f MiB (measured with %d devices and %d updates) × %.3g", base, c.Memory, c.Devices, c.Updates, c.scale(f))}
}

// base is what a server without devices takes, in MiB, rounded up.
const base = 64

func (c Constants) connections(f Fleet) Line {
	return Line{What: "memory for long polls, one of each device", Value: float64(f.Devices) * c.Poll / 1024, Unit: "MiB",
		How: fmt.Sprintf("%d devices × %.1f KiB, and about as much in the kernel", f.Devices, c.Poll)}
}

func (c Constants) disk(f Fleet) Line {
	return Line{What: "database, as it stands", Value: c.Disk * c.scale(f), Unit: "MiB",
		How: fmt.Sprintf("%.0f MiB (measured with %d devices) × %.3g", c.Disk, c.Devices, c.scale(f))}
}

// reportBytes is about what one kept report takes in the database with its index entries.
const reportBytes = 600

func (c Constants) history(f Fleet) Line {
	perDay := float64(f.Devices) * f.Installs * reportsPerInstall
	return Line{What: "database, what a year of reports adds", Value: perDay * 365 * reportBytes / (1 << 20), Unit: "MiB",
		How: fmt.Sprintf("%.0f reports a day × 365 × %d bytes", perDay, reportBytes)}
}

func (c Constants) start(f Fleet) Line {
	return Line{What: "start to the first correct answer", Value: c.Start * c.scale(f) / min(float64(f.Cores), 2), Unit: "s",
		How: fmt.Sprintf("%.1f s of CPU (measured with %d devices) × %.3g / %.0f cores that it can use", c.Start, c.Devices, c.scale(f), min(float64(f.Cores), 2))}
}

// Where advice begins.
const (
	manyDevices = 20_000  // from here on a database of its own is worth its keep
	mostDevices = 200_000 // from here on one process is not what was measured
	busy        = 0.5     // of the cores, in the steady state
)

func advice(e Estimate) []string {
	f, out := e.Fleet, []string{}
	if load := e.Lines[0].Value + e.Lines[1].Value; load > busy*float64(f.Cores) {
		out = append(out, fmt.Sprintf("Steady work takes more than half of the cores: give the server %d, or let devices check in less often.", int(math.Ceil(load/busy))))
	}
	if memory := e.Lines[3].Value + e.Lines[4].Value; memory > 0 {
		out = append(out, fmt.Sprintf("Give the server %d GiB of memory: twice the sum of the two lines, for what is made and thrown away in between.", int(math.Ceil(2*memory/1024))))
	}
	out = append(out, fmt.Sprintf("Allow %d open files (LimitNOFILE): one for each device and some room.", f.Devices+f.Devices/10+1024))
	switch {
	case f.Devices > mostDevices:
		out = append(out, "More than was measured in one process: divide the fleet among several servers, as docs/scaling.md shows.")
	case f.Devices > manyDevices:
		out = append(out, "Use PostgreSQL, so that a second server can take over.")
	default:
		out = append(out, "The embedded SQLite database will do.")
	}
	return out
}
