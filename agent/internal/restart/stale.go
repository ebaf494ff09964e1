package restart

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"assent/wire"
)

// maxFiles is how many files the sentence of a reason names.
const maxFiles = 3

// Process is one process as /proc tells of it.
type Process struct {
	Exe    string // where its program is, or was
	Maps   []byte // /proc/PID/maps
	Groups []byte // /proc/PID/cgroup
}

// Deleted lists the executable files that a process runs and that are not on disk any more under their name, each once.
// Only files of software count: what lies in temporary, private or shared memory has its own life.
func (p Process) Deleted() []string {
	var out []string
	add := func(name string) {
		if file, gone := strings.CutSuffix(name, " (deleted)"); gone && software(file) && !slices.Contains(out, file) {
			out = append(out, file)
		}
	}
	add(p.Exe)
	for line := range strings.Lines(string(p.Maps)) {
		if name, ok := mapped(strings.TrimSuffix(line, "\n")); ok {
			add(name)
		}
	}
	slices.Sort(out)
	return out
}

// mapped is the file of a line of maps(5) that is mapped to be executed:
//
//	7f1c-7f1d r-xp 00001000 fe:01 1234   /usr/lib/libssl.so.3 (deleted)
func mapped(line string) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || len(fields[1]) < 3 || fields[1][2] != 'x' || fields[4] == "0" {
		return "", false
	}
	at := strings.IndexByte(line, '/')
	if at < 0 || !strings.HasPrefix(fields[5], "/") {
		return "", false
	}
	return line[at:], true
}

// software reports whether a path is one where installed software lies.
func software(file string) bool {
	if path.Clean(file) != file || strings.ContainsAny(file, "\n\\") {
		return false
	}
	for _, dir := range []string{"/usr/", "/opt/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"} {
		if strings.HasPrefix(file, dir) {
			return true
		}
	}
	return false
}

// Owner is what a process belongs to.
type Owner struct {
	Unit string // a service of the system; empty for none
	User string // the number of the user whose session it is in; empty for none
	Init bool   // it is the init itself
}

// Owner reads the unit from /proc/PID/cgroup: of the unified hierarchy, or of systemd's own in the older form.
func (p Process) Owner() Owner {
	group := ""
	for line := range strings.Lines(string(p.Groups)) {
		line = strings.TrimSuffix(line, "\n")
		if unified, ok := strings.CutPrefix(line, "0::"); ok && (group == "" || unified != "/") {
			group = unified
		}
		if _, named, ok := strings.Cut(line, ":name=systemd:"); ok && named != "/" {
			group = named
		}
	}
	return ownerOf(group)
}

func ownerOf(group string) Owner {
	parts := strings.Split(strings.TrimPrefix(group, "/"), "/")
	switch parts[0] {
	case "init.scope":
		return Owner{Init: true}
	case "user.slice":
		for _, p := range parts[1:] {
			if uid, ok := strings.CutPrefix(strings.TrimSuffix(p, ".slice"), "user-"); ok && number(uid) {
				return Owner{User: uid}
			}
		}
		return Owner{}
	}
	for _, p := range parts {
		if strings.HasSuffix(p, ".scope") {
			return Owner{} // a container or a machine: what is in it is not ours
		}
		if strings.HasSuffix(p, ".service") && UnitName(p) {
			return Owner{Unit: p}
		}
	}
	return Owner{}
}

func number(s string) bool {
	return s != "" && len(s) < 11 && strings.Trim(s, "0123456789") == ""
}

// Stale makes the reasons of what processes run, one for each unit and user.
func Stale(processes []Process) []wire.RestartReason {
	type holder struct {
		kind wire.RestartKind
		name string
	}
	held := map[holder][]string{}
	for _, p := range processes {
		files := p.Deleted()
		if len(files) == 0 {
			continue
		}
		h := holder{wire.StaleSession, "processes of no unit"}
		switch o := p.Owner(); {
		case o.Init:
			h = holder{wire.StaleCore, "init"}
		case o.Unit != "" && Spared(o.Unit) != "":
			h = holder{wire.StaleCore, o.Unit}
		case o.Unit != "":
			h = holder{wire.StaleService, o.Unit}
		case o.User != "":
			h.name = "user " + o.User
		}
		held[h] = append(held[h], files...)
	}
	var out []wire.RestartReason
	for h, files := range held {
		slices.Sort(files)
		files = slices.Compact(files)
		out = append(out, wire.RestartReason{Kind: h.kind, Name: h.name, Detail: sentence(h.kind, h.name, files)})
	}
	out = Sorted(out)
	return out[:min(len(out), maxReasons)]
}

// maxReasons bounds what a device says.
const maxReasons = 200

func sentence(kind wire.RestartKind, name string, files []string) string {
	shown := strings.Join(files[:min(len(files), maxFiles)], ", ")
	if more := len(files) - maxFiles; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	s := "It still runs " + shown + " from before an update."
	if kind == wire.StaleCore {
		s += " " + spareText(name)
	}
	return s
}
