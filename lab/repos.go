package lab

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"assent/lab/debrepo"
)

// Repo opens the repository called name, and creates it empty if there is none. It is served at RepoURL at once.
// A process that attached to the lab may open and publish it just the same.
func (l *Lab) Repo(name string) (*debrepo.Repo, error) {
	return debrepo.Open(l.repoDir(name), name)
}

func (l *Lab) repoDir(name string) string { return filepath.Join(l.dir, "repos", name) }

// RepoURL is where devices find the repository called name.
func (l *Lab) RepoURL(name string) string { return "http://" + Gateway + "/" + name }

// RepoSource is the apt source for suites of a repository.
func (l *Lab) RepoSource(r *debrepo.Repo, suites ...string) (Source, error) {
	key, err := r.Key().Public()
	if err != nil {
		return Source{}, fmt.Errorf("source for %s: %w", r.Name(), err)
	}
	return Source{Name: r.Name(), Entry: r.SourcesEntry(l.RepoURL(r.Name()), suites...), KeyPath: r.KeyPath(), Key: key}, nil
}

// serveRepos serves every repository of the lab, also those that other processes make later.
func (l *Lab) serveRepos() error {
	return l.serve(Gateway+":80", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
		if !deviceName.MatchString(name) {
			http.NotFound(w, req)
			return
		}
		if _, err := os.Stat(l.repoDir(name)); err != nil {
			http.NotFound(w, req)
			return
		}
		repo, err := l.Repo(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.StripPrefix("/"+name, repo.Handler()).ServeHTTP(w, req)
	}))
}
