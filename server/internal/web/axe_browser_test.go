package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"assent/fleet"
	"assent/installation"
	"assent/lab/chromium"
	"assent/ledger"
	"assent/server/internal/web"
	"assent/wire"
)

// hostileText is what a device may say of itself and of what it could install.
const hostileText = `<img src=x onerror="document.documentElement.dataset.broken=1"><script>document.documentElement.dataset.broken=1</script>` + "=cmd|'/c calc'!A1 "

// filled is a site where something of each kind happened, much of it told by a hostile device.
func filled(t testing.TB) (*site, map[string]string) {
	t.Helper()
	s, managed := shop(t)
	s.Act("server", ledger.GroupCreate{Group: fleet.Group{ID: "g-a", Name: strings.Repeat("W", 60), Parent: "g-team", Guard: fleet.ApprovedOnly, Test: true}})
	evil := s.Device(hostileText+strings.Repeat("W", 60), fleet.Root)
	evil.Has("evil", "1")
	bad := string(evil.Offer("evil", "2", func(o *wire.Offer) {
		o.Items[0].Summary, o.Items[0].Origin = hostileText+strings.Repeat("W", 200), strings.Repeat("O", 60)+":x"
	}))
	for _, name := range []string{"zlib", "bash", "curl", "tar"} {
		s.device.Has(name, "1")
		s.device.Offer(name, "2", func(o *wire.Offer) { o.Items[0].Security, o.Items[0].Severity = true, "high" })
	}
	evil.CheckIn()
	s.device.CheckIn()
	a, d := s.browser(s.tokens["a"]), s.browser(s.tokens["d"])
	done := func(res *http.Response) string {
		t.Helper()
		if res.StatusCode != http.StatusSeeOther {
			t.Fatalf("filling the site: %d %.800s", res.StatusCode, text(t, res))
		}
		return res.Header.Get("Location")
	}
	done(a.decides(url.Values{"status": {"declined"}, "select": {bad}, "scope": {"root"}, "reason": {strings.Repeat("reason-", 50)}}))
	done(a.post("/exceptions", url.Values{"update": {bad}, "scope": {"g-team"}, "reason": {"<b>x</b>"}, "expires": {"2099-01-01"}}))
	for _, name := range []string{"zlib", "bash", "curl"} {
		done(a.decides(url.Values{"status": {"approved"}, "select": {string(s.id(name + "@2"))}, "scope": {"g-team"}, "reason": {"of the week"}}))
	}
	pack := done(a.post("/packages", url.Values{"update": {managed}, "name": {strings.Repeat("N", 100)}}))
	evil.Event("guard_refused", hostileText+strings.Repeat("long-", 100))
	s.device.Report(s.id("zlib@2"), installation.Blocked, installation.NoSpace, hostileText)
	s.device.Report(s.id("bash@2"), installation.Downloading, "", "3 of 9 files")
	s.device.Report(s.id("curl@2"), installation.Failed, installation.InstallFailed, "its postinst ended with 7")
	done(d.post("/devices/change", url.Values{"act": {"quarantine"}, "devices": {string(evil.ID)}, "reason": {hostileText}}))
	form := url.Values{"name": {strings.Repeat("C", 60)}, "kind": {"webhook"}, "address": {"http://127.0.0.1:9/" + strings.Repeat("hook", 40)},
		"events": {"halt", "failed"}, "group": {"g-team"}, "digest": {"08:00"}, "zone": {"UTC"}}
	made := regexp.MustCompile(`href="/channels/(c[a-z0-9]+)"`).FindStringSubmatch(text(t, d.post("/channels", form)))
	if made == nil {
		t.Fatal("filling the site: no channel was made")
	}
	digest := s.agreement(managed)
	done(a.post("/agreements/accept", url.Values{"update": {managed}, "accept": {digest}}))
	return s, map[string]string{"{managed}": managed, "{update}": bad, "{device}": string(s.device.ID), "/packages/none": pack, "/feeds/none": "/feeds/acme", "/channels/none": "/channels/" + made[1], "/rollouts/default/none": s.ringed(), "digest=0123456789": "digest=" + digest}
}

// agreement is the digest of the agreement of a release.
func (s *site) agreement(update string) string {
	s.t.Helper()
	_, rest, found := strings.Cut(text(s.t, s.browser(s.tokens["a"]).get("/updates/"+update)), `name="accept" value="`)
	digest, _, _ := strings.Cut(rest, `"`)
	if !found {
		s.t.Fatal("no agreement is offered")
	}
	return digest
}

// everyPage is an address for each page of the route table: that of the row with which the other tests call it, with
// what the filled site has in place of what does not exist.
func everyPage(t testing.TB, names map[string]string) []string {
	t.Helper()
	var pairs []string
	for from, to := range names {
		pairs = append(pairs, from, to)
	}
	replace := strings.NewReplacer(pairs...)
	mux, paths := http.NewServeMux(), map[string]string{}
	for _, r := range web.Routes() {
		mux.HandleFunc(r.Method+" "+r.Pattern, func(http.ResponseWriter, *http.Request) {})
	}
	for _, r := range table() {
		if r.method == http.MethodGet {
			_, pattern := mux.Handler(httptest.NewRequest(r.method, strings.NewReplacer("{", "", "}", "").Replace(r.path), nil))
			paths[pattern] = replace.Replace(r.path)
		}
	}
	out := []string{"/no/such/page", "/updates/seamless?status=declined", "/updates?columns=name&columns=summary&columns=origin&columns=flags&status=declined"}
	for _, r := range web.Routes() {
		if r.Method == http.MethodGet && r.Name != "" && r.Pattern != "/sign-in" {
			out = append(out, paths[r.Method+" "+r.Pattern])
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d pages: this test looks at nothing", len(out))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// looker looks at a page in both sizes and both themes.
type looker struct {
	*tab
	axe string
}

func newLooker(t *testing.T, s *site) *looker {
	t.Helper()
	axe, err := chromium.LoadAxe("assets/axe.min.js")
	must(t, err)
	l := &looker{s.chromium(t), axe}
	l.Expect("404") // of the page that says so
	return l
}

// outOfCards are the things that are wider than the card in which they stand, unless one can scroll to them.
const outOfCards = `[...document.querySelectorAll(".card table, .card pre, .card .tallies, .card .facts")].filter((e) =>
	e.offsetParent && !e.closest(".table-responsive, dialog") && e.getBoundingClientRect().right > e.closest(".card").getBoundingClientRect().right + 1).map((e) => e.outerHTML.slice(0, 120))`

// look fails for each serious fault, for a page that is wider than its window and for a text that became markup.
func (l *looker) look(what string) {
	l.t.Helper()
	for _, width := range []int64{1440, 390} {
		l.Size(width, 900)
		for _, scheme := range []string{"light", "dark"} {
			l.Scheme(scheme)
			l.await(`document.documentElement.dataset.bsTheme === "` + scheme + `"`)
			for _, f := range l.Faults(l.axe) {
				if f.Impact == "serious" || f.Impact == "critical" {
					l.t.Errorf("%s, %d pixels, %s: %s", what, width, scheme, f)
				}
			}
		}
		if over := l.Overflow(); over > 0 {
			l.t.Errorf("%s is %d pixels too wide at %d", what, over, width)
		}
	}
	for _, width := range []int64{1440, 1280, 1024, 390} {
		l.Size(width, 900)
		if out := js[[]string](l.tab, outOfCards); len(out) > 0 {
			l.t.Errorf("%s, %d pixels: stands out of its card: %q", what, width, out)
		}
	}
	if js[bool](l.tab, `!!document.documentElement.dataset.broken || !document.querySelector("h1")`) {
		l.t.Errorf("%s is broken: %s", what, l.says())
	}
	l.Size(1440, 900)
}

// TestBrowser_EveryPageIsAccessibleInBothThemesAndFitsAPhone runs axe-core over every page of the route table.
func TestBrowser_EveryPageIsAccessibleInBothThemesAndFitsAPhone(t *testing.T) {
	s, names := filled(t)
	l := newLooker(t, s)
	l.open("/sign-in")
	l.look("/sign-in")
	l.signIn(s.tokens["d"], "/")
	for _, path := range everyPage(t, names) {
		l.open(path)
		l.await(`document.querySelector(".htmx-request") === null`)
		l.look(path)
	}
}

// TestBrowser_WhatPagesOpenIsAccessibleToo looks at what is only there after a click: dialogs, menus, messages, what
// a form asks before it acts.
func TestBrowser_WhatPagesOpenIsAccessibleToo(t *testing.T) {
	s, names := filled(t)
	l := newLooker(t, s)
	l.signIn(s.tokens["d"], "/updates")
	opened := func(name, path, condition string, steps ...chromium.Step) {
		t.Helper()
		l.open(path)
		l.do(steps...)
		l.await(condition)
		l.look(name)
	}
	opened("the palette", "/", `document.querySelectorAll("[data-hit]").length > 2`, chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	opened("the keys", "/", `document.querySelector("#keys").open`, chromedp.KeyEvent("?"))
	opened("the filter", "/updates?status=undefined", `document.querySelector("details.pop[open]")`, chromedp.Click("details.pop summary"))
	opened("the person's menu", "/", `document.querySelector("details.who[open]")`, chromedp.Click("details.who summary"))
	opened("a selection", "/updates", `document.querySelector("tr.chosen")`, chromedp.KeyEvent("j"), chromedp.KeyEvent("x"))
	opened("an approval", "/updates?search=tar", `document.querySelector("[data-decide]")`, chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("a"))
	opened("a decline", "/updates?search=tar", `document.querySelector("[data-decide]")`, chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("d"))
	withdraw := url.Values{"digest": {strings.TrimPrefix(names["digest=0123456789"], "digest=")}, "reason": {"read it again"}}
	if res := s.browser(s.tokens["a"]).post("/agreements/withdraw", withdraw); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("withdrawing: %d", res.StatusCode)
	}
	opened("an agreement", "/updates/decide?status=approved&select="+names["{managed}"], `document.querySelector("[name=accept]")`)
	opened("suggestions", "/tasks/new", `document.querySelectorAll("#suggestions [role=option]").length > 0`, chromedp.SendKeys("#selection", "o"), chromedp.KeyEvent(kb.ArrowDown))
	opened("a move", "/devices", `document.querySelector("#to")`, chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("m"))
	opened("an enrolment's line", "/enrol", `document.querySelector("#secret")`, chromedp.Click(`main form button`))
	l.open("/updates/decide?status=approved&scope=g-team&select=" + string(s.id("tar@2")))
	l.follow(chromedp.Click("[data-decide]"))
	l.await(`document.querySelector(".toasts form button") !== null`)
	l.look("a message with Undo")
	l.Expect("401") // of the sign-in that is refused
	l.open("/account")
	l.follow(chromedp.Click("details.who summary"), chromedp.Click(`form[action="/sign-out"] button`))
	l.open("/sign-in?next=/devices#assent_wrong")
	l.follow(chromedp.Click(".sign-in button"))
	l.look("a sign-in that was refused")
}
