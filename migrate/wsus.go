package migrate

import (
	"regexp"
	"slices"
	"strings"

	"assent/approval"
	"assent/fleet"
)

// Approvals reads approvals of WSUS as PowerShell writes them. Each approval has an update and a target group.
func Approvals(at string, raw []byte) (Draft, error) {
	var d Draft
	all, err := records(at, raw)
	if err != nil {
		return d, err
	}
	w := wsus{d: &d, approved: map[string]bool{}}
	for _, r := range all {
		if err := w.read(r); err != nil {
			return d, err
		}
	}
	for _, r := range w.withheld {
		w.withhold(r)
	}
	if len(w.flat) > 0 {
		d.note(at, Differs, "The groups %s are made below the root, unless they are there: how they lie in each other is not in the file. Devices are not moved.", plain(strings.Join(w.flat, ", ")))
	}
	return d, nil
}

type wsus struct {
	d        *Draft
	approved map[string]bool // titles that some group approves
	withheld []approvalRow
	flat     []string // groups whose parent is not known
}

// approvalRow is one record.
type approvalRow struct {
	at, title, group, action string
	kbs                      []string
	deadline, by             string
}

// actions are the words for what is done, as the API and the console of WSUS have them, without spaces.
var actions = map[string]string{"install": "install", "approved": "install", "uninstall": "uninstall", "approvedforremoval": "uninstall", "notapproved": "none", "none": "none", "declined": "decline", "decline": "decline"}

var ofGroups = regexp.MustCompile(`\s*\(([0-9]+)/([0-9]+)\)$`)

func (w *wsus) read(r record) error {
	row := approvalRow{at: r.at, title: plain(r.first("title", "updatetitle", "legacyname", "update")), by: plain(r.first("administratorname", "approvedby")),
		group: plain(r.first("targetgroup", "computertargetgroup", "targetgroupname", "computertargetgroupname", "group"))}
	for _, list := range r.fields["knowledgebasearticles"] {
		for _, number := range strings.FieldsFunc(list, func(c rune) bool { return c < '0' || c > '9' }) {
			row.kbs = append(row.kbs, "KB"+number)
		}
	}
	row.kbs = append(row.kbs, inTitle.FindAllString(row.title, 5)...)
	if row.title == "" && len(row.kbs) == 0 {
		return bad(r.at, "It names no update: a property Title or KnowledgebaseArticles is needed.")
	}
	said := r.first("action", "approvalaction", "approved")
	some := ofGroups.FindStringSubmatch(said)
	row.action = actions[strings.ToLower(strings.ReplaceAll(ofGroups.ReplaceAllString(said, ""), " ", ""))]
	if strings.EqualFold(r.first("isdeclined"), "true") {
		row.action, row.group = "decline", ""
	}
	switch {
	case row.action == "":
		return bad(r.at, "The action %.40q is none of Install, Uninstall, NotApproved and Declined.", said)
	case row.action == "install" && row.group == "" && some != nil && some[1] != some[2]:
		w.d.note(row.at, LeftOut, "%s is approved for %s of %s groups, and the file does not say for which. Write the approvals one by one, as the manual shows.", row.title, some[1], some[2])
		return nil
	}
	row.deadline = r.first("deadline")
	w.take(row, r)
	return nil
}

var inTitle = regexp.MustCompile(`KB[0-9]{5,8}`)

// take makes a wish of a record.
func (w *wsus) take(row approvalRow, r record) {
	if row.action == "none" {
		w.withheld = append(w.withheld, row)
		return
	}
	group := w.group(row.group, plain(r.first("parenttargetgroup", "parentgroup")))
	wish := Wish{At: row.at, Status: approval.Approved, Group: group, Names: row.names(), Reason: row.reason()}
	switch row.action {
	case "install":
		w.approved[row.title] = true
	case "uninstall":
		wish.Status = approval.Declined
		w.d.note(row.at, Differs, "%s is to be uninstalled. A decline takes back what a feed publishes; other packages stay, and `assent update rollback` orders them back.", row.title)
	case "decline":
		wish.Status = approval.Declined
	}
	w.d.Wishes = append(w.d.Wishes, wish)
	if row.action == "install" && row.deadline != "" && !never(row.deadline) {
		w.d.note(row.at, LeftOut, "The deadline %s of %s is left out: when something installs is a matter of a task's windows.", plain(row.deadline), row.title)
	}
	if strings.EqualFold(r.first("isoptional"), "true") {
		w.d.note(row.at, Differs, "%s is optional in WSUS: people at the computer choose. Here an approval installs.", row.title)
	}
}

// never reports whether a date is the one that stands for none.
func never(date string) bool {
	return strings.Contains(date, "9999") || strings.Contains(date, "0001-01-01") || strings.HasPrefix(date, "1/1/0001") || strings.HasPrefix(date, "01/01/0001")
}

func (row approvalRow) names() (out []Pattern) {
	for _, text := range append([]string{row.title}, row.kbs...) {
		if p := (Pattern{Text: text, Match: Title}); text != "" && !slices.ContainsFunc(out, func(o Pattern) bool { return o.Text == text }) {
			out = append(out, p)
		}
	}
	return out
}

func (row approvalRow) reason() string {
	if row.by == "" {
		return "WSUS"
	}
	return "WSUS, by " + row.by
}

// group is the group that a target group becomes; it has to be there.
func (w *wsus) group(name, parent string) string {
	if rootGroup(name) {
		return ""
	}
	if slices.ContainsFunc(w.d.Groups, func(g Group) bool { return strings.EqualFold(g.Name, name) }) {
		return name
	}
	g := Group{Name: name}
	switch {
	case parent == "" || strings.EqualFold(parent, name):
		w.flat = append(w.flat, name)
	case !rootGroup(parent):
		g.Parent = w.group(parent, "")
	}
	w.d.Groups = append(w.d.Groups, g)
	return name
}

// withhold says what becomes of NotApproved: nothing, but where an approval comes from above.
func (w *wsus) withhold(row approvalRow) {
	if w.approved[row.title] && !rootGroup(row.group) {
		w.d.note(row.at, LeftOut, "%s is not approved for %s and approved elsewhere. Here an approval of a group above counts below too: decline it in %s if it is to stay out.", row.title, row.group, row.group)
		return
	}
	w.d.note(row.at, AsIs, "%s is not approved: so everything begins here.", row.title)
}

// rootGroup reports whether a group is that of everything, as it is called here or there.
func rootGroup(name string) bool {
	return name == "" || strings.EqualFold(name, "All Computers") || strings.EqualFold(name, fleet.RootName)
}
