package web_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/sys/unix"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/lab/chromium"
	"assent/server/servertest"
	"assent/wire"
)

// The fleet of issue 4's figures.
const (
	manyDevices  = 10_000
	manyUpdates  = 5_000
	eachUpdates  = 40  // that one device could take
	kinds        = 250 // different sets of packages
	packagesEach = 300
	teams        = 20
)

// crowd is a site with a large fleet, partly decided and at work.
type crowd struct {
	*site
	devices []*servertest.Device
	turn    int
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	c := &crowd{site: newSite(b)}
	for g := range teams {
		c.Group(fleet.GroupID(fmt.Sprintf("g-%02d", g)), fmt.Sprintf("Team %02d", g), fleet.Root)
	}
	for g := range teams {
		c.devices = append(c.devices, c.Fleet(manyDevices/teams, fleet.GroupID(fmt.Sprintf("g-%02d", g)), func(i int) string { return fmt.Sprintf("host%05d", i*teams+g) }, furnish)...)
	}
	for _, d := range c.devices {
		d.Forget()
	}
	a := c.browser(c.tokens["a"])
	for _, f := range []url.Values{{"status": {"approved"}, "query": {"search=tool00"}}, {"status": {"declined"}, "query": {"search=tool010"}, "reason": {"not yet"}}} {
		f.Set("all", "1")
		f.Set("scope", "root")
		if res := a.decides(f); res.StatusCode != http.StatusSeeOther {
			b.Fatalf("deciding: %d %.500s", res.StatusCode, text(b, res))
		}
	}
	for i := range 3000 {
		c.works(i)
	}
	return c
}

// furnish tells a device what it has and could take.
func furnish(i int, d *servertest.Device) {
	severities := []catalog.Severity{"", catalog.Low, catalog.Medium, catalog.High, catalog.Critical}
	for n := range packagesEach {
		d.Has(fmt.Sprintf("base%03d", n), fmt.Sprintf("1.%d", i%kinds%7))
	}
	for n := range eachUpdates {
		k := tool(i, n)
		d.Has(fmt.Sprintf("tool%04d", k), "1.0")
		d.Offer(fmt.Sprintf("tool%04d", k), "1.1", func(o *wire.Offer) {
			o.Items[0].Severity, o.Items[0].Security = severities[k%len(severities)], k%5 > 0
		})
	}
}

// tool is the number of the n-th update that the i-th device of a team could take.
func tool(i, n int) int { return (i%kinds*7 + n*(manyUpdates/eachUpdates)) % manyUpdates }

// works lets one device report where it is with one of its updates.
func (c *crowd) works(i int) {
	c.t.Helper()
	at := i % len(c.devices)
	d, name := c.devices[at], fmt.Sprintf("tool%04d", tool(at%(manyDevices/teams), 0))
	release := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: name}, Version: "1.1"}
	state, cause := installation.Downloading, installation.Cause("")
	if i%3 == 0 {
		state, cause = installation.Blocked, installation.NoSpace
	}
	d.Report(release.ID(), state, cause, "")
}

// busy changes something before each request, as in a fleet that never sleeps: what was kept is then worth nothing.
func (c *crowd) busy() {
	c.turn++
	c.works(c.turn)
}

// ask sends one request and gives how long the server took, and the compressed size of the page.
func (c *crowd) ask(h http.Handler, cookie, path string) (took time.Duration, size int) {
	c.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Cookie", "assent="+cookie)
	r.Header.Set("Accept-Encoding", "gzip")
	rec := httptest.NewRecorder()
	begin := time.Now()
	h.ServeHTTP(rec, r)
	took = time.Since(begin)
	if rec.Code != http.StatusOK {
		c.t.Fatalf("GET %s: %d %.300s", path, rec.Code, rec.Body.String())
	}
	return took, rec.Body.Len()
}

// listed are the pages that are measured, by a name for their figures.
func (c *crowd) listed() map[string]string {
	tool := string(c.id("tool0007@1.1"))
	device := string(c.devices[1].ID)
	return map[string]string{
		"overview": "/", "coverage": "/overview/coverage", "updates": "/updates", "updates-undecided": "/updates?status=undefined&needed=true&sort=-needed", "updates-failed": "/updates?state=blocked&sort=-first_seen",
		"updates-search": "/updates?search=tool12", "updates-severity": "/updates?severity=critical&severity=high&group=g-03", "seamless": "/updates/seamless", "update": "/updates/" + tool, "history": "/updates/" + tool + "/history",
		"decide": "/updates/decide?status=approved&select=" + string(c.id("tool2007@1.1")), "rollback": "/updates/" + tool + "/rollback", "exceptions": "/exceptions", "agreements": "/agreements",
		"queue": "/queue", "queue-blocked": "/queue?state=blocked", "devices": "/devices", "devices-search": "/devices?search=host01", "devices-group": "/devices?group=g-07&sort=-last_seen",
		"device": "/devices/" + device, "device-updates": "/devices/" + device + "/updates", "why": "/devices/" + device + "/why/" + tool, "groups": "/groups", "group": "/groups/g-07",
		"packages": "/packages", "deployments": "/deployments", "feeds": "/feeds", "ledger": "/ledger", "events": "/events", "operators": "/operators", "tokens": "/access", "enrol": "/enrol",
		"account": "/account", "search": "/search?q=tool", "palette": "/palette?q=host",
	}
}

// cpuTime is what this process used of all cores so far. What else the machine does hardly disturbs it.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	must(b, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano())
}

func part(sorted []time.Duration, share float64) float64 {
	return float64(sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]) / float64(time.Millisecond)
}

// BenchmarkConsole is row P14: the console's pages on a large fleet, through the real handler and store. Each
// iteration asks for every page once. The bare handler beside it sends as much HTML from a template without asking
// anybody. What Chromium sees is measured at the end.
func BenchmarkConsole(b *testing.B) {
	c := newCrowd(b)
	pages := c.listed()
	who := c.browser(c.tokens["d"])
	names := slices.Sorted(maps.Keys(pages))
	took, spent, sizes := map[string][]time.Duration{}, map[string][]time.Duration{}, map[string]int{}
	bare := map[string][]time.Duration{}
	still := map[string]http.Handler{}
	for _, name := range names {
		still[name] = plainPage(b, text(b, who.get(pages[name])))
	}
	for b.Loop() {
		for _, name := range names {
			c.busy()
			begin := cpuTime(b)
			t, size := c.ask(c.Handler, who.cookie, pages[name])
			took[name], spent[name], sizes[name] = append(took[name], t), append(spent[name], cpuTime(b)-begin), size
			t, _ = c.ask(still[name], "", "/")
			bare[name] = append(bare[name], t)
		}
	}
	for _, name := range names {
		slices.Sort(spent[name])
		slices.Sort(took[name])
		slices.Sort(bare[name])
		b.ReportMetric(part(spent[name], .5), name+"-cpu-ms")
		b.ReportMetric(part(took[name], .5), name+"-p50-ms")
		b.ReportMetric(part(took[name], .95), name+"-p95-ms")
		b.ReportMetric(part(bare[name], .95), name+"-bare-ms")
		b.ReportMetric(float64(sizes[name])/1000, name+"-kB")
	}
	c.painted(b, pages)
}

// plainPage serves a text through html/template, compressed as the console's pages are.
func plainPage(b *testing.B, page string) http.Handler {
	b.Helper()
	page = strings.NewReplacer("{{", "", "}}", "").Replace(regexp.MustCompile(`(?s)<script.*?</script>`).ReplaceAllString(page, ""))
	one, err := template.New("").Parse(page)
	must(b, err)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err == nil {
			err = errors.Join(one.Execute(z, nil), z.Close())
		}
		if err != nil {
			b.Error(err)
		}
	})
}

// paintRounds is how often each page is painted.
const paintRounds = 5

// painted measures what Chromium sees on loopback: the first contentful paint with the files of the console kept and
// with nothing kept, the bytes of a first load, and the paint of a page without style sheet and script beside it.
func (c *crowd) painted(b *testing.B, pages map[string]string) {
	b.Helper()
	plain := httptest.NewServer(plainPage(b, text(b, c.browser(c.tokens["d"]).get(pages["updates"]))))
	defer plain.Close()
	t := chromium.Open(b, c.URL)
	t.Open("/sign-in?next=/#" + c.tokens["d"])
	t.Await(`document.querySelector("#token").value !== ""`)
	t.Follow(chromedp.Click(".sign-in form button"))
	var first, after, bare []float64
	heaviest := 0.0
	for range paintRounds {
		for _, name := range []string{"overview", "updates", "update", "devices", "device", "queue", "groups", "ledger"} {
			for _, cold := range []bool{true, false} {
				if cold {
					_, err := chromedp.Call(t.Context(), network.ClearBrowserCache, cdp.Empty{})
					must(b, err)
				}
				c.busy()
				t.Open(pages[name])
				t.Await(`performance.getEntriesByName("first-contentful-paint").length > 0 && document.readyState === "complete" && !document.querySelector(".htmx-request")`)
				paint := chromium.Eval[float64](t, `performance.getEntriesByName("first-contentful-paint")[0].startTime`)
				if cold {
					first = append(first, paint)
					heaviest = max(heaviest, chromium.Eval[float64](t, `[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((n, e) => n + e.encodedBodySize, 0) / 1000`))
				} else {
					after = append(after, paint)
				}
			}
		}
		t.URL = plain.URL
		t.Open("/")
		t.Await(`performance.getEntriesByName("first-contentful-paint").length > 0`)
		bare = append(bare, chromium.Eval[float64](t, `performance.getEntriesByName("first-contentful-paint")[0].startTime`))
		t.URL = c.URL
	}
	for name, samples := range map[string][]float64{"paint-first": first, "paint-after": after, "paint-bare": bare} {
		slices.Sort(samples)
		b.ReportMetric(samples[len(samples)/2], name+"-p50-ms")
		b.ReportMetric(samples[len(samples)*95/100], name+"-p95-ms")
	}
	b.ReportMetric(heaviest, "first-load-kB")
}
