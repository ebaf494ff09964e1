package apt

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

var _ pkgmgr.Foreseer = (*Apt)(nil)

// Room implements pkgmgr.Foreseer.
func (a *Apt) Room(tx pkgmgr.Transaction) error { return a.checkSpace(tx) }

// Foresee implements pkgmgr.Foreseer.
func (a *Apt) Foresee(ctx context.Context, tx pkgmgr.Transaction) (pkgmgr.Foresight, error) {
	var out pkgmgr.Foresight
	s, err := readStatus(a.fsys)
	if err != nil {
		return out, err
	}
	if s.Pending {
		out.Gone = []pkgmgr.Refusal{*refuse(installation.ManagerBroken, tx.Changes, "dpkg was interrupted, and has to be repaired before anything is installed; the agent tries that first.")}
		return out, nil
	}
	if out.Gone, err = a.gone(ctx, tx); err != nil {
		return out, err
	}
	out.Kept, err = a.keptFiles(ctx, s, tx.Changes)
	return out, err
}

// gone asks for each file that is not here yet whether it can be had where apt would fetch it from. What comes from feeds is not asked
// for: the agent has verified the feed, and its files come by way of the server.
func (a *Apt) gone(ctx context.Context, tx pkgmgr.Transaction) ([]pkgmgr.Refusal, error) {
	var absent []wire.Change
	for _, c := range tx.Changes {
		_, feed := catalog.FeedOf(c.Space)
		if c.Op != wire.OpRemove && !feed && !a.isThere(c) {
			absent = append(absent, c)
		}
	}
	if len(absent) == 0 {
		return nil, nil
	}
	uris, err := a.uris(ctx, tx)
	if err != nil {
		return nil, err
	}
	conf, bad := readConfig(newTree(a.fsys))
	if len(bad) > 0 || conf.find("Acquire::http::Proxy-Auto-Detect") != "" || conf.find("Acquire::http::ProxyAutoDetect") != "" {
		return nil, nil // apt may go ways that are not known here
	}
	return newAsking(a.cfg.Root, conf).all(ctx, absent, uris)
}

// uri is where apt would fetch a file from.
type uri struct {
	address string
	size    int64
}

// uris asks apt where it would fetch the files of a transaction from, by the names that they would have in the cache. What is
// there already is left out.
func (a *Apt) uris(ctx context.Context, tx pkgmgr.Transaction) (map[string]uri, error) {
	if err := a.ensureArchives(); err != nil {
		return nil, err
	}
	dir, err := a.scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	prefs, err := writePreferences(dir, wall(tx.Want))
	if err != nil {
		return nil, err
	}
	w, err := a.world(ctx, wantedNames(tx.Want))
	if err != nil {
		return nil, err
	}
	args := append([]string{"-y", "-qq", "--print-uris", "-o", "Debug::NoLocking=1", "-o", "Dir::Cache::Archives=" + a.archives(),
		"-o", "APT::Get::Remove=false"}, common()...)
	args = append(args, prefs.options()...)
	args = append(args, verbInstall)
	res, err := a.cfg.Command.Run(ctx, command.Call{Tool: command.AptGet, Args: append(args, a.arguments(w, tx.Want, targetsOf(tx))...),
		Deadline: simulateDeadline, Limit: 32 << 20})
	if err != nil {
		return nil, fmt.Errorf("ask apt where files come from: %w", err)
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("ask apt where files come from: %s", aptWords(string(res.Stdout)+"\n"+string(res.Stderr)))
	}
	return parseURIs(string(res.Stdout)), nil
}

var uriLine = regexp.MustCompile(`^'([^']+)' (\S+\.deb) (\d+)( |$)`)

// parseURIs reads what apt-get --print-uris says: 'ADDRESS' FILE SIZE [HASH:DIGEST]. The address is quoted for URIs, so it holds
// no quotation mark.
func parseURIs(out string) map[string]uri {
	uris := map[string]uri{}
	for line := range strings.Lines(out) {
		m := uriLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue
		}
		if size, err := strconv.ParseInt(m[3], 10, 64); err == nil {
			uris[m[2]] = uri{m[1], size}
		}
	}
	return uris
}

// unavailable says that the file of a change cannot be had.
func unavailable(c wire.Change, format string, args ...any) pkgmgr.Refusal {
	return *refuse(installation.ContentUnavailable, []wire.Change{c}, format, args...)
}
