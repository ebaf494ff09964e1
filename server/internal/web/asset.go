package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

// static holds our own style sheet and scripts, and in vendor what `make assets` put there; vendor may be empty.
//
//go:embed all:static
var static embed.FS

// asset is a file that pages refer to. Its address has its content's hash in it, so browsers keep it for ever.
type asset struct {
	path, kind string
	body       []byte
	gzipped    func() []byte // made at the first request; nil when it is not smaller
}

// assets are all files, by name.
type assets struct{ byName map[string]*asset }

func loadAssets() (*assets, error) {
	out := &assets{byName: map[string]*asset{}}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		short := strings.TrimPrefix(name, "static/")
		out.byName[short] = &asset{path: "/static/" + hex.EncodeToString(sum[:6]) + "/" + short, kind: mime.TypeByExtension(path.Ext(name)),
			body: body, gzipped: sync.OnceValue(func() []byte { return squeeze(body, gzip.BestCompression) })}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("web: read the embedded files: %w", err)
	}
	return out, nil
}

// built reports whether `make assets` ran before this program was built.
func (a *assets) built() bool { return a.byName["vendor/tabler.min.css"] != nil }

// url is where a page finds a file. A file that was not built has no address; what needs it stays plain.
func (a *assets) url(name string) string {
	if f := a.byName[name]; f != nil {
		return f.path
	}
	return ""
}

// squeeze compresses; nil if that makes nothing smaller.
func squeeze(body []byte, level int) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		return nil
	}
	if _, err := w.Write(body); err != nil || w.Close() != nil || out.Len() >= len(body) {
		return nil
	}
	return out.Bytes()
}

// takesGzip reports whether the browser reads gzip.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.TrimSpace(weight) != "q=0" {
			return true
		}
	}
	return false
}

// file answers with an embedded file. Under an address with another hash, that of a page of another version, it
// gives the file of today and lets nobody keep it.
func (s *server) file(w http.ResponseWriter, v *Visit) error {
	f := s.assets.byName[v.Path("file")]
	if f == nil {
		return errNoPage
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Vary", "Accept-Encoding")
	if v.Request.URL.Path == f.path {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := f.body
	if takesGzip(v.Request) {
		if small := f.gzipped(); small != nil {
			h.Set("Content-Encoding", "gzip")
			body = small
		}
	}
	_, _ = w.Write(body) // the browser may be gone
	return nil
}
