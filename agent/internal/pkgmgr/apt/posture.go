package apt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"assent/agent/internal/feeds/aptrepo"
	"assent/wire"
)

func compareFindings(a, b wire.Finding) int {
	return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Detail, b.Detail))
}

// posture is every weakness in apt's set-up and everything that the scan had to leave out.
//
// Weaknesses: trusted_yes, allow_insecure, allow_unauthenticated, allow_downgrade_to_insecure,
// check_valid_until_off, no_signed_by, http_without_valid_until, feed_name_claimed. Left out or not understood: invalid_name,
// invalid_version, invalid_status, no_digest, too_many_versions, database_malformed, list_missing, list_unreadable,
// release_unreadable, source_malformed, preferences_malformed, config_unreadable, apt_paths_moved, state_unreadable,
// auto_marks_unreadable.
func (l *lists) posture() []wire.Finding {
	l.checkOptions()
	for _, s := range l.sources {
		if _, own := aptrepo.Owns(s.where, s.uri, s.suite); !own { // why ours needs no signature, aptrepo says
			l.checkSource(s)
		}
	}
	for _, r := range l.releases {
		if r.claimsFeed() {
			l.find("feed_name_claimed", []string{fmt.Sprintf("%s calls itself %q, as only a feed that Assent verified may; it is listed as %q", r.uri, r.origin, r.namespace())})
		}
	}
	slices.SortFunc(l.findings, compareFindings)
	out := slices.Compact(l.findings)
	return out[:min(len(out), 10*maxFindings)]
}

// checkOptions looks for configuration that takes away what apt would check.
func (l *lists) checkOptions() {
	weak := map[string]string{
		"acquire::allowinsecurerepositories":       "allow_insecure",
		"acquire::allowweakrepositories":           "allow_insecure",
		"apt::get::allowunauthenticated":           "allow_unauthenticated",
		"acquire::allowdowngradetoinsecureactions": "allow_downgrade_to_insecure",
	}
	for option, code := range weak {
		if l.config.isTrue(option) {
			l.find(code, []string{option})
		}
	}
	for option, values := range l.config {
		value, isBool := aptBool(values[len(values)-1])
		switch {
		case strings.HasSuffix(option, "allowdowngradetoinsecurerepositories") && value && isBool:
			l.find("allow_downgrade_to_insecure", []string{option})
		case strings.HasPrefix(option, "acquire::") && strings.HasSuffix(option, "check-valid-until") && !value && isBool,
			option == "acquire::check-date" && !value && isBool:
			l.find("check_valid_until_off", []string{option})
		case slices.Contains(movedPaths(), option):
			l.find("apt_paths_moved", []string{option + " is set; the scan reads the usual place"})
		}
	}
	slices.SortFunc(l.findings, compareFindings)
}

// movedPaths are the options that would make apt read other files than the scan does.
func movedPaths() []string {
	return []string{"dir", "rootdir", "dir::state", "dir::state::lists", "dir::state::status", "dir::state::extended_states", "dir::etc",
		"dir::etc::sourcelist", "dir::etc::sourceparts", "dir::etc::preferences", "dir::etc::preferencesparts", "dir::etc::main",
		"dir::etc::parts", "dir::etc::machine-id"}
}

// checkSource looks for what one source takes away.
func (l *lists) checkSource(s source) {
	where := func(option string) []string { return []string{s.where + ": " + option} }
	on := func(option string) bool { v, _ := aptBool(s.options[option]); return v }
	off := func(option string) bool { v, ok := aptBool(s.options[option]); return ok && !v }
	if on("trusted") {
		l.find("trusted_yes", where("trusted=yes"))
	}
	for _, option := range []string{"allow-insecure", "allow-weak"} {
		if on(option) {
			l.find("allow_insecure", where(option+"=yes"))
		}
	}
	if on("allow-downgrade-to-insecure") {
		l.find("allow_downgrade_to_insecure", where("allow-downgrade-to-insecure=yes"))
	}
	for _, option := range []string{"check-valid-until", "check-date"} {
		if off(option) {
			l.find("check_valid_until_off", where(option+"=no"))
		}
	}
	if s.options["signed-by"] == "" {
		l.find("no_signed_by", where("any key of this device may sign it"))
	}
	l.checkTransport(s)
}

// checkTransport: without encryption and without an expiry, somebody on the way can freeze a device in time.
func (l *lists) checkTransport(s source) {
	name := listName(s.base())
	at := slices.IndexFunc(l.releases, func(r *release) bool { return r.file == name })
	scheme, _, _ := strings.Cut(s.uri, ":")
	if at >= 0 && l.releases[at].present && l.releases[at].validUntil.IsZero() && strings.EqualFold(scheme, "http") {
		l.find("http_without_valid_until", []string{fmt.Sprintf("%s: %s", s.where, l.releases[at].name())})
	}
}
