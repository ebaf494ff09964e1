package criteria

import (
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"assent/fleet"
	"assent/wire"
)

// Device is a device as selections see it.
type Device struct {
	fleet.Device
	Groups []string    // names of its group and all groups above, nearest first
	Test   bool        // it is in a test group
	Facts  *wire.Facts // nil before its first report
	Seen   time.Time   // when it last spoke with the server; zero: never
	Now    time.Time
}

// Match reports whether a device is selected. The error is an *Unknown: hold then.
func (s Selection) Match(d Device) (bool, error) { return s.eval(d.field) }

// field is the value of a field; nil when nobody knows it.
func (d Device) field(name string) ref.Val {
	switch name {
	case "id":
		return known(string(d.ID))
	case "name":
		return known(d.Name)
	case "hostname":
		if d.Facts != nil && d.Facts.Hostname != "" {
			return types.String(d.Facts.Hostname)
		}
		return known(d.Name)
	case "group":
		if len(d.Groups) == 0 {
			return nil
		}
		return types.String(d.Groups[0])
	case "groups":
		if len(d.Groups) == 0 {
			return nil
		}
		return list(d.Groups)
	case "test":
		return types.Bool(d.Test)
	case "age_enrolled":
		return since(d.EnrolledAt, d.Now)
	case "last_seen":
		return since(d.Seen, d.Now)
	}
	if d.Facts == nil {
		return nil
	}
	return reported(d.Facts, name)
}

// reported is the value of a field that the device itself reports.
func reported(f *wire.Facts, name string) ref.Val {
	switch name {
	case "os":
		return known(f.OS)
	case "os_version":
		return types.String(f.OSVersion)
	case "codename":
		return types.String(f.Codename)
	case "arch":
		return known(f.Arch)
	case "foreign":
		return list(f.Foreign)
	case "kernel":
		return known(f.Kernel)
	case "agent":
		return known(f.Agent)
	case "time_zone":
		return known(f.TimeZone)
	case "restart_pending":
		return types.Bool(len(f.Restart) > 0)
	case "healthy":
		return types.Bool(f.ManagerHealth == "")
	case "findings":
		codes := make([]string, len(f.Posture))
		for i, p := range f.Posture {
			codes[i] = p.Code
		}
		return list(codes)
	case "guard":
		if f.Guard == fleet.Inherit {
			return types.String("none")
		}
		return devices().one(name, string(f.Guard))
	}
	return nil
}
