package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/installation"
	"assent/wire"
)

var _ pkgmgr.Refresher = (*Apt)(nil)

// refreshDeadline ends a refresh that hangs; ending it is harmless, since apt replaces lists as a whole and at the end.
const refreshDeadline = 10 * time.Minute

// Refresh implements pkgmgr.Refresher. apt keeps the lists of a source that failed. An older, validly signed state of a
// source is no failure to apt: where it has newer lists it drops it silently, with none it takes it. The first is seen
// here, by comparing what was served with what was kept; the second by the newest Date that this device ever accepted.
func (a *Apt) Refresh(ctx context.Context) ([]wire.OriginHealth, error) {
	res, runErr := a.cfg.Command.Run(ctx, command.Call{Tool: command.AptGet, Deadline: refreshDeadline, Limit: 16 << 20, Args: []string{
		"-q", "--error-on=any",
		"-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::https::Timeout=20",
		"-o", "Acquire::ftp::Timeout=20", "-o", "APT::Color=false", "-o", "Debug::pkgAcquire::Auth=true", "update"}})
	if runErr != nil && !errors.Is(runErr, command.ErrTimeout) {
		return nil, fmt.Errorf("refresh package lists: %w", runErr)
	}
	out := string(res.Stdout) + "\n" + string(res.Stderr)
	if strings.Contains(out, "Could not get lock") || strings.Contains(out, "Unable to lock directory") {
		return nil, refuse(installation.ManagerBusy, nil, "Another run of apt refreshes the package lists: %s", aptWords(out))
	}
	origins, problems, err := a.judgeSources(out, runErr)
	if err != nil {
		return nil, fmt.Errorf("refresh package lists: %w", err)
	}
	if res.Code != 0 && runErr == nil && problems == 0 {
		return origins, fmt.Errorf("refresh package lists: %s", aptWords(out))
	}
	return origins, nil
}

func countProblems(origins []wire.OriginHealth) (n int) {
	for _, o := range origins {
		if o.Problem != "" {
			n++
		}
	}
	return n
}

// judgeSources puts together what the lists on the device say of each source and what apt said of it. problems counts
// those of the repositories of feeds too, of which the feeds themselves tell.
func (a *Apt) judgeSources(out string, runErr error) (origins []wire.OriginHealth, problems int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := newTree(a.fsys)
	l, err := loadLists(t, false)
	if err != nil {
		return nil, 0, err
	}
	origins, _ = a.originHealth(t, l, a.cfg.Now())
	said := parseUpdate(out)
	for i, r := range l.releases {
		problem, detail := said.about(r)
		name := strings.TrimSuffix(r.file, "_")
		if problem == "" && runErr != nil && !said.done[name] {
			problem, detail = "unreachable", "it did not answer within the time allowed"
		}
		if problem == "" && a.servedOlder(said.served[name], r) {
			problem, detail = "rolled_back", "it serves an older state than the one accepted here; apt keeps the newer one"
		}
		if problem != "" && (origins[i].Problem == "" || origins[i].Problem == "unreachable") {
			origins[i].Problem, origins[i].Detail = problem, detail
		}
	}
	return l.withoutFeeds(origins), countProblems(origins), nil
}

// servedOlder reports whether a release file that was fetched and verified is not the one that apt keeps now: there is one
// reason for that, an older date.
func (a *Apt) servedOlder(sha256 string, r *release) bool {
	if sha256 == "" || !r.present {
		return false
	}
	have, _, err := fileDigest(filepath.Join(a.cfg.Root, r.raw))
	return err == nil && have != sha256
}

// update is what a run of apt-get update said of each source, by the name of its files in apt's lists.
type update struct {
	done   map[string]bool
	served map[string]string // SHA-256 of the release files that were fetched and whose signature is good
	failed map[string]string // apt's words
	ended  map[string]string // E: and W: lines that name a source
}

var (
	sourceLine   = regexp.MustCompile(`^(Hit|Get|Ign|Err):\d+ (\S+) (\S+) (InRelease|Release|\S.*?)(?: \[.*\])?$`)
	uriDone      = regexp.MustCompile(`^201 URI Done: (\S+)$`)
	receivedSum  = regexp.MustCompile(`^\s*- SHA256:([0-9a-f]{64})$`)
	verifiedFile = regexp.MustCompile(`^Signature verification succeeded: \S*/partial/(\S+)_InRelease$`)
)

// parseUpdate reads the output of apt-get update. Lines that it does not know say nothing.
func parseUpdate(out string) update {
	u := update{map[string]bool{}, map[string]string{}, map[string]string{}, map[string]string{}}
	current, failing := "", ""
	received := map[string]string{} // several sources are fetched at once, so their lines mix
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\r\n")
		if m := sourceLine.FindStringSubmatch(line); m != nil {
			name := updateName(m[2], m[3])
			failing = ""
			switch m[1] {
			case "Hit", "Get":
				u.done[name] = true
			case "Err":
				failing = name
				u.failed[name] = "apt gives no reason"
			}
			continue
		}
		switch {
		case failing != "" && strings.HasPrefix(line, "  "):
			u.failed[failing] = strings.TrimSpace(line)
			failing = ""
		case uriDone.MatchString(line):
			uri, ok := strings.CutSuffix(uriDone.FindStringSubmatch(line)[1], "/InRelease")
			if current = ""; ok {
				current = strings.TrimSuffix(listName(uri+"/"), "_")
			}
		case current != "" && receivedSum.MatchString(line):
			received[current] = receivedSum.FindStringSubmatch(line)[1]
		case verifiedFile.MatchString(line):
			name := verifiedFile.FindStringSubmatch(line)[1]
			u.served[name] = received[name]
		case strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "W: "):
			u.note(line[3:])
		}
	}
	return u
}

// updateName is how apt calls a source's files, from the way it prints the source.
func updateName(uri, suite string) string {
	dist := "dists/" + suite + "/"
	if first, _, ok := strings.Cut(suite, "/"); ok && !strings.HasSuffix(suite, "/") {
		dist = "dists/" + first + "/"
	} else if ok {
		dist = suite
	}
	return strings.TrimSuffix(listName(strings.TrimSuffix(uri, "/")+"/"+dist), "_")
}

var sourceInText = regexp.MustCompile(`((?:https?|ftp|file|copy|mirror|cdrom)(?:\+\w+)?:\S+?)(?: (\S+) (?:In)?Release|/dists/(\S+?)/(?:In)?Release)`)

// note keeps a sentence of apt's about a source that it names.
func (u *update) note(text string) {
	m := sourceInText.FindStringSubmatch(text)
	if m == nil {
		return
	}
	name := updateName(m[1], cmp.Or(m[2], m[3]))
	if u.ended[name] == "" {
		u.ended[name] = text
	}
}

// about classifies what apt said of a source.
func (u update) about(r *release) (problem, detail string) {
	name := strings.TrimSuffix(r.file, "_")
	text := u.ended[name]
	if text == "" {
		text = u.failed[name]
	}
	for file, said := range u.failed { // an index below the source
		if text == "" && strings.HasPrefix(file, name+"_") {
			text = said
		}
	}
	if text == "" {
		return "", ""
	}
	return classifySource(text), cleanText([]byte(text), 300)
}

// classifySource names the problem behind a sentence of apt's.
func classifySource(text string) string {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("is expired", "is not valid yet", "invalid since"):
		return "expired"
	case has("NO_PUBKEY", "BADSIG", "GPG error", "Missing key", "is not signed", "no longer signed", "sqv returned", "signatures were invalid",
		"couldn't be verified", "OpenPGP signature verification failed", "NOSPLIT", "NODATA", "EXPKEYSIG", "REVKEYSIG", "does not have a Release file"):
		return "bad_signature"
	case has("Hash Sum mismatch", "unexpected size", "changed its"):
		return "tampered"
	}
	return "unreachable"
}
