package apt

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"assent/catalog"
)

// release is what is known of one Release file and the source it came by.
type release struct {
	uri, dist string // of the source
	file      string // below /var/lib/apt/lists, without InRelease; identifies the source
	present   bool   // a Release file is on the device

	origin, label, suite, codename, version string
	date, validUntil                        time.Time
	notAutomatic, butAutomaticUpgrades      bool

	raw  string // path of the Release file
	feed string // the feed whose repository this is; empty for what is not the agent's own
}

// maxField caps a text from a Release file, in bytes.
const maxField = 200

// parseRelease reads the header fields of a Release or InRelease file. Whether its signature is good is
// apt's business: what lies in its lists directory passed it, or is flagged in the posture.
func (r *release) parse(data []byte) error {
	if bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		data = clearText(data)
	}
	fields(bytes.TrimLeft(data, "\r\n"), func(name string, value []byte) {
		switch name {
		case "origin":
			r.origin = cleanText(value, maxField)
		case "label":
			r.label = cleanText(value, maxField)
		case "suite":
			r.suite = cleanText(value, maxField)
		case "codename":
			r.codename = cleanText(value, maxField)
		case fVersion:
			r.version = cleanText(value, maxField)
		case "date":
			r.date = releaseTime(value)
		case "valid-until":
			r.validUntil = releaseTime(value)
		case "notautomatic":
			r.notAutomatic, _ = aptBool(string(value))
		case "butautomaticupgrades":
			r.butAutomaticUpgrades, _ = aptBool(string(value))
		}
	})
	if r.date.IsZero() {
		return fmt.Errorf("release file %s has no readable Date", r.raw)
	}
	return nil
}

// clearText takes the text out of a clear-signed message.
func clearText(data []byte) []byte {
	_, data, _ = bytes.Cut(data, []byte("\n")) // the marker
	if i, n := blankLine(append([]byte("\n"), data...), 0); i >= 0 {
		data = data[max(0, i-1+n):] // behind the armour headers; the added line break is not in data
	}
	if i := bytes.Index(data, []byte("\n-----BEGIN PGP SIGNATURE-----")); i >= 0 {
		data = data[:i+1]
	}
	return bytes.ReplaceAll(data, []byte("\n- "), []byte("\n"))
}

func releaseTime(value []byte) time.Time {
	for _, layout := range []string{time.RFC1123, "Mon, _2 Jan 2006 15:04:05 MST", "Mon, _2 Jan 2006 15:04:05 -0700"} {
		if t, err := time.Parse(layout, string(value)); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// size of an index by the Release file; -1 if it does not list it.
func releaseSize(data []byte, key string) int64 {
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 64<<10)
	for sc.Scan() {
		f := bytes.Fields(sc.Bytes())
		if len(f) == 3 && string(f[2]) == key && len(f[0]) == 64 {
			return number(f[1])
		}
	}
	return -1
}

// site is the host of the source, as pins by origin see it.
func (r *release) site() string {
	u, err := url.Parse(r.uri)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// name of the release for people and for Bound.Origin: "Debian:bookworm-security". Some archives put the
// pocket into Suite alone (jammy-security, codename jammy), Debian's has aliases there (oldstable-security).
func (r *release) name() string {
	if r.feed != "" {
		return "feed:" + r.feed
	}
	name := r.codename
	if name == "" || strings.HasPrefix(r.suite, r.codename+"-") {
		name = r.suite
	}
	if name == "" {
		name = cleanText([]byte(strings.Trim(r.dist, "/")), maxField)
	}
	return r.origin + ":" + name
}

// security says whether the release is one for security updates.
func (r *release) security() bool {
	for _, s := range []string{r.suite, r.codename, r.label} {
		if strings.HasSuffix(s, "-security") {
			return true
		}
	}
	return strings.Contains(r.label, "Security") || strings.HasSuffix(strings.Trim(r.dist, "/"), "/updates") && r.origin == "Debian"
}

var notNamespace = regexp.MustCompile(`[^a-z0-9.-]+`)

// namespace is who publishes, catalog.Software.Namespace. A source that claims the namespace of a feed without being the
// agent's own gets another one, which no feed has.
func (r *release) namespace() string {
	if r.feed != "" {
		return catalog.FeedNamespace(r.feed)
	}
	ns := notNamespace.ReplaceAllString(strings.ToLower(r.origin), "")
	if name, claims := catalog.FeedOf(ns); claims {
		return "not-feed-" + name
	}
	return cmp.Or(ns, "unknown")
}

// claimsFeed reports whether a source that is not the agent's own calls itself like one.
func (r *release) claimsFeed() bool {
	_, claims := catalog.FeedOf(notNamespace.ReplaceAllString(strings.ToLower(r.origin), ""))
	return claims && r.feed == ""
}
