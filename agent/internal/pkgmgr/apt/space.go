package apt

import (
	"io/fs"
	"os"
	"strings"
	"syscall"

	"assent/agent/internal/pkgmgr"
	"assent/installation"
	"assent/wire"
)

// What must stay free on each file system after everything is done.
const (
	reserveBytes  = 32 << 20
	reserveInodes = 1000
)

// need is what a transaction puts onto one directory.
type need struct {
	dir    string
	bytes  int64
	inodes uint64
}

// checkSpace refuses a transaction that would fill a file system: the archive cache, the file system that packages are
// unpacked to (with room for the largest package twice, as dpkg writes the new files before it removes the old), and
// /boot where a kernel comes in. Directories on the same file system are counted together.
func (a *Apt) checkSpace(tx pkgmgr.Transaction) error {
	largest := int64(0)
	kernels := 0
	for _, c := range tx.Changes {
		if c.Op == wire.OpRemove {
			continue
		}
		largest = max(largest, c.Size)
		if strings.HasPrefix(c.Name, "linux-image-") {
			kernels++
		}
	}
	needs := []need{
		{a.archives(), a.bytesToFetch(tx.Changes), uint64(len(tx.Changes))},
		{"/usr", max(0, tx.Space) + 4*largest, reserveInodes},
		{"/var/lib/dpkg", 8 << 20, 0},
	}
	if kernels > 0 {
		needs = append(needs, need{"/boot", int64(kernels) * bootImage("/boot"), 0})
	}
	return checkNeeds(needs, statfs)
}

// bootImage guesses what one more kernel takes in dir: as much as the largest initial RAM disk there now and a kernel.
func bootImage(dir string) int64 {
	size := int64(64 << 20)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return size
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && strings.HasPrefix(e.Name(), "initrd.img") {
			size = max(size, info.Size()+16<<20)
		}
	}
	return size
}

// room is what a file system has left.
type room struct {
	id     uint64 // the device number: directories with the same one share the room
	bytes  int64
	inodes uint64
	counts bool // it has a fixed number of inodes
}

func statfs(dir string) (room, error) {
	var s syscall.Statfs_t
	info, err := os.Stat(dir)
	if err == nil {
		err = syscall.Statfs(dir, &s)
	}
	if err != nil {
		return room{}, err
	}
	r := room{bytes: int64(s.Bavail) * s.Bsize, inodes: s.Ffree, counts: s.Files > 0}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		r.id = st.Dev
	}
	return r, nil
}

func checkNeeds(needs []need, look func(string) (room, error)) error {
	bytes, inodes := map[uint64]int64{}, map[uint64]uint64{}
	for _, n := range needs {
		r, err := look(n.dir)
		if os.IsNotExist(err) || err != nil && os.IsPermission(err) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "look at the free space of", Path: n.dir, Err: err}
		}
		bytes[r.id] += n.bytes
		inodes[r.id] += n.inodes
		if missing := bytes[r.id] + reserveBytes - r.bytes; missing > 0 {
			return refuse(installation.NoSpace, nil, "The file system of %s is too small: %d MiB more must be free.", n.dir, (missing>>20)+1)
		}
		if r.counts && r.inodes < inodes[r.id] {
			return refuse(installation.NoSpace, nil, "The file system of %s has only %d inodes left.", n.dir, r.inodes)
		}
	}
	return nil
}
