package debrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5" // the md5sums file of a package is defined with it
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"strings"
	"time"
)

// built is the time stamped on everything inside a package, so that equal structs give equal bytes.
var built = time.Date(2025, time.January, 2, 3, 4, 5, 0, time.UTC)

// Deb builds the bytes of the package. Equal packages give equal bytes.
func Deb(p Package) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	files := p.contents()
	data, err := dataTar(files)
	if err != nil {
		return nil, fmt.Errorf("package %s %s: data: %w", p.Name, p.Version, err)
	}
	control, err := p.controlTar(files)
	if err != nil {
		return nil, fmt.Errorf("package %s %s: control: %w", p.Name, p.Version, err)
	}
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	arMember(&out, "debian-binary", []byte("2.0\n"))
	arMember(&out, "control.tar.gz", control)
	arMember(&out, "data.tar.gz", data)
	return out.Bytes(), nil
}

// contents are the files of the package with the padding and a marker that names the version.
func (p Package) contents() []namedText {
	files := map[string]string{
		"/usr/share/doc/" + p.Name + "/version": p.Name + " " + p.Version + "\n",
	}
	if p.Pad > 0 {
		files["/usr/share/"+p.Name+"/pad"] = string(padding(p.Name+" "+p.Version, p.Pad))
	}
	maps.Copy(files, p.Files)
	return sortedFiles(files)
}

// installedKiB counts a block for each file on top of the bytes, roughly as dpkg-gencontrol does.
func (p Package) installedKiB(files []namedText) int {
	if p.InstalledSize > 0 {
		return p.InstalledSize
	}
	total := 0
	for _, f := range files {
		total += len(f.text)
	}
	return total/1024 + 1 + len(files)
}

// padding is incompressible and depends on nothing but its arguments.
func padding(seed string, size int) []byte {
	out := make([]byte, size)
	// ChaCha8 is used as a reproducible byte stream, not for secrets.
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(out)
	return out
}

func (p Package) controlTar(files []namedText) ([]byte, error) {
	var sums strings.Builder
	for _, f := range files {
		fmt.Fprintf(&sums, "%x  %s\n", md5.Sum([]byte(f.text)), f.name[1:])
	}
	members := []namedText{{"control", p.control(p.installedKiB(files))}, {"md5sums", sums.String()}}
	if len(p.Conffiles) > 0 {
		members = append(members, namedText{"conffiles", strings.Join(p.Conffiles, "\n") + "\n"})
	}
	members = append(members, p.scripts()...)
	return gzipTar(func(w *tar.Writer) error {
		if err := tarDir(w, "./"); err != nil {
			return err
		}
		for _, m := range members {
			if err := tarFile(w, "./"+m.name, m.text); err != nil {
				return err
			}
		}
		return nil
	})
}

func dataTar(files []namedText) ([]byte, error) {
	return gzipTar(func(w *tar.Writer) error {
		made := map[string]bool{}
		if err := tarDir(w, "./"); err != nil {
			return err
		}
		for _, f := range files {
			if err := tarParents(w, path.Dir(f.name), made); err != nil {
				return err
			}
			if err := tarFile(w, "."+f.name, f.text); err != nil {
				return err
			}
		}
		return nil
	})
}

func tarParents(w *tar.Writer, dir string, made map[string]bool) error {
	if dir == "/" || made[dir] {
		return nil
	}
	if err := tarParents(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return tarDir(w, "."+dir+"/")
}

func tarDir(w *tar.Writer, name string) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: built,
		Uname: "root", Gname: "root", Format: tar.FormatGNU})
}

func tarFile(w *tar.Writer, name, text string) error {
	mode := int64(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: mode,
		ModTime: built, Uname: "root", Gname: "root", Format: tar.FormatGNU})
	if err != nil {
		return err
	}
	_, err = w.Write([]byte(text))
	return err
}

func gzipTar(fill func(*tar.Writer) error) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(zip)
	if err := fill(archive); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// arMember appends one member in the common ar format, which pads to even offsets.
func arMember(out *bytes.Buffer, name string, data []byte) {
	fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, built.Unix(), 0, 0, "100644", len(data))
	out.Write(data)
	if len(data)%2 == 1 {
		out.WriteByte('\n')
	}
}
