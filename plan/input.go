package plan

import (
	"assent/catalog"
	"assent/criteria"
	"assent/task"
)

// On says how tasks stand for the device, whichever they are: those of the input, or others that are tried.
func (in *Input) On(set task.Set) task.Here {
	return set.On(in.Path, criteria.Device{Device: in.Device, Groups: in.Groups, Test: in.Test, Facts: in.Facts, Seen: in.Seen, Now: in.Now})
}

// Asked is a release as tasks are asked about it on the device. The server may not know it yet: u is then the zero value.
func (in *Input) Asked(u catalog.Update, r catalog.Release) criteria.Update {
	if u.ID == "" || u.Release != r { // the id costs more than all the rest
		u.Release, u.ID = r, r.ID()
	}
	return criteria.Update{Update: u, Installed: in.Installed(r.Software), Unplaced: in.Inventory == nil, Now: in.Now}
}

// Installed is the version of a piece of software on the device; empty if it is not there, or not known.
func (in *Input) Installed(s catalog.Software) string {
	if in.Inventory == nil {
		return ""
	}
	for _, p := range in.Inventory.Packages {
		if p.Source == s.Name && p.In(in.Inventory.Ecosystem) == s.Ecosystem {
			return p.SourceVersion
		}
	}
	return ""
}
