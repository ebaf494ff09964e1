package debrepo

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// publishDebs takes packages that were built elsewhere into the pool as they are. What their index says of them is
// their own control paragraph, as dpkg reads it.
func (r *Repo) publishDebs(files []string, c change) ([]stanza, error) {
	var out []stanza
	for _, name := range files {
		deb, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("package file: %w", err)
		}
		control, err := exec.Command("dpkg-deb", "--field", name).Output()
		if err != nil {
			return nil, fmt.Errorf("read control paragraph of %s: %w", name, err)
		}
		arch := fieldOf(string(control), "Architecture")
		source := fieldOf(string(control), "Package")
		if !nameSyntax.MatchString(source) || arch == "" {
			return nil, fmt.Errorf("%s is no package of an archive", name)
		}
		pooled := path.Join("pool/main", source[:1], source, filepath.Base(name))
		if err := c.write(pooled, deb); err != nil {
			return nil, err
		}
		text := strings.TrimRight(string(control), "\n") + fmt.Sprintf("\nFilename: %s\nSize: %d\nSHA256: %x\n", pooled, len(deb), sha256.Sum256(deb))
		out = append(out, stanza{arch, text})
	}
	return out, nil
}

// fieldOf is the first line of a field of a control paragraph.
func fieldOf(control, name string) string {
	for line := range strings.Lines(control) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
