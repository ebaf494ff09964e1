package migrate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"assent/approval"
	"assent/criteria"
	"assent/task"
)

// baseline is what `aws ssm get-patch-baseline` prints.
type baseline struct {
	BaselineID                       string `json:"BaselineId"`
	Name                             string
	OperatingSystem                  string
	Description                      string
	GlobalFilters                    filterGroup
	ApprovalRules                    struct{ PatchRules []patchRule }
	ApprovedPatches                  []string
	ApprovedPatchesComplianceLevel   string
	ApprovedPatchesEnableNonSecurity bool
	RejectedPatches                  []string
	RejectedPatchesAction            string
	PatchGroups                      []string
	Sources                          []struct {
		Name          string
		Products      []string
		Configuration string
	}
	AvailableSecurityUpdatesComplianceStatus,
	CreatedDate, ModifiedDate json.RawMessage // nothing that decides
}

type patchRule struct {
	PatchFilterGroup  filterGroup
	ComplianceLevel   string
	ApproveAfterDays  *int
	ApproveUntilDate  string
	EnableNonSecurity bool
}

type filterGroup struct{ PatchFilters []patchFilter }

type patchFilter struct {
	Key    string
	Values []string
}

// Baseline reads a patch baseline of AWS Systems Manager, as JSON. Its rules become tasks for the group, its lists decisions.
func Baseline(at string, raw []byte, group string) (Draft, error) {
	var d Draft
	if err := within(at, raw); err != nil {
		return d, err
	}
	var b baseline
	if err := json.Unmarshal(raw, &b); err != nil {
		return d, bad(at, "It is not the JSON of a patch baseline: %.200s.", err.Error())
	}
	if b.OperatingSystem == "" || b.BaselineID == "" {
		return d, bad(at, "It is no patch baseline: it has no OperatingSystem or BaselineId. Write it with `aws ssm get-patch-baseline --baseline-id …`.")
	}
	if len(b.ApprovalRules.PatchRules) > task.MaxRules || len(b.ApprovedPatches)+len(b.RejectedPatches) > maxRecords {
		return d, bad(at, "It has more rules or patches than AWS allows.")
	}
	r := baselineReader{d: &d, at: at, b: b, group: group}
	r.unread(raw)
	r.rules()
	r.lists()
	r.rest()
	return d, nil
}

type baselineReader struct {
	d     *Draft
	at    string
	b     baseline
	group string
}

// system is what a baseline's OperatingSystem is called on devices.
type system struct{ os, ecosystem string }

var systems = map[string]system{"DEBIAN": {"debian", "deb"}, "UBUNTU": {"ubuntu", "deb"}, "RASPBIAN": {"raspbian", "deb"}, "AMAZON_LINUX": {"amzn", "rpm"}, "AMAZON_LINUX_2": {"amzn", "rpm"},
	"AMAZON_LINUX_2022": {"amzn", "rpm"}, "AMAZON_LINUX_2023": {"amzn", "rpm"}, "REDHAT_ENTERPRISE_LINUX": {"rhel", "rpm"}, "CENTOS": {"centos", "rpm"}, "ROCKY_LINUX": {"rocky", "rpm"},
	"ALMA_LINUX": {"almalinux", "rpm"}, "ORACLE_LINUX": {"ol", "rpm"}}

// unread notes fields that a later version of AWS may print.
func (r *baselineReader) unread(raw []byte) {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&baseline{}); err != nil {
		r.d.note(r.at, LeftOut, "There is a field that this build does not read: %.200s.", plain(err.Error()))
	}
}

// rules makes a task of the rules that are for the same products: a product is a matter of the device here.
func (r *baselineReader) rules() {
	sys, ok := systems[r.b.OperatingSystem]
	if !ok && len(r.b.ApprovalRules.PatchRules) > 0 {
		r.d.note(r.at, LeftOut, "Devices with %s are not managed by this build, so its rules are left out.", plain(r.b.OperatingSystem))
		return
	}
	var tasks []task.Task
	for i, rule := range r.b.ApprovalRules.PatchRules {
		at := fmt.Sprintf("%s, rule %d", r.at, i+1)
		selection, made, ok := r.rule(at, sys, rule)
		if !ok {
			continue
		}
		same := slices.IndexFunc(tasks, func(t task.Task) bool { return t.Targets.Selection == selection })
		if same < 0 {
			name := cut(cmp.Or(plain(r.b.Name), r.b.BaselineID), task.MaxName-5)
			if same = len(tasks); same > 0 {
				name = fmt.Sprintf("%s (%d)", name, same+1)
			}
			t := importedTask(name, r.group)
			t.Targets.Selection = selection
			tasks = append(tasks, t)
		}
		tasks[same].Rules = append(tasks[same].Rules, made)
	}
	if r.d.Tasks = tasks; len(tasks) > 0 {
		r.d.note(r.at, Differs, "Its tasks install what nobody decided on, as the baseline does, at any time: give them windows, as the maintenance windows were (`assent task edit '%s' --window …`).", tasks[0].Name)
	}
}

// rule is one rule with the selection of devices that it is for.
func (r *baselineReader) rule(at string, sys system, p patchRule) (selection string, made task.Rule, ok bool) {
	e := expression{d: r.d, at: at, sys: sys, selection: []string{"os == " + quoted(sys.os)}, rule: []string{"ecosystem == " + quoted(sys.ecosystem)}}
	if !p.EnableNonSecurity {
		e.rule = append(e.rule, "security")
	}
	for _, f := range slices.Concat(r.b.GlobalFilters.PatchFilters, p.PatchFilterGroup.PatchFilters) {
		if !e.filter(f) {
			return "", made, false
		}
	}
	switch {
	case p.ApproveUntilDate != "":
		r.d.note(at, LeftOut, "It approves what was released until %s: rules here know ages, not dates. Approve these updates once (`assent update approve --all-matching …`).", plain(p.ApproveUntilDate))
		return "", made, false
	case p.ApproveAfterDays != nil && (*p.ApproveAfterDays < 0 || *p.ApproveAfterDays > 360):
		r.d.note(at, LeftOut, "It approves after %d days; AWS allows 0 to 360.", *p.ApproveAfterDays)
		return "", made, false
	case p.ApproveAfterDays != nil && *p.ApproveAfterDays > 0:
		e.rule = append(e.rule, fmt.Sprintf("age_release >= days(%d)", *p.ApproveAfterDays))
	}
	if p.ComplianceLevel != "" && p.ComplianceLevel != "UNSPECIFIED" {
		r.d.note(at, LeftOut, "The compliance level %s is left out: compliance counts what was approved and is there, without levels.", plain(p.ComplianceLevel))
	}
	slices.Sort(e.rule)
	made = task.Rule{Admits: task.ApprovedOrUndefined, Criteria: strings.Join(slices.Compact(e.rule), " && ")}
	selection = strings.Join(slices.Compact(e.selection), " && ")
	if _, err := criteria.CompileRule(made.Criteria); err != nil {
		r.d.note(at, LeftOut, "What it comes to is no expression that is accepted here: %s", plain(err.Error()))
		return "", made, false
	}
	return selection, made, true
}

// expression is a rule that is being put together.
type expression struct {
	d               *Draft
	at              string
	sys             system
	selection, rule []string
}

// filter adds a filter; false: it narrows in a way that cannot be said, so the whole rule is left out.
func (e *expression) filter(f patchFilter) bool {
	if len(f.Values) == 0 || slices.Contains(f.Values, "*") || everything(f) {
		return true
	}
	switch f.Key {
	case "PRODUCT":
		return e.products(f.Values)
	case "CLASSIFICATION":
		return e.classes(f.Values)
	case "SEVERITY":
		return e.severities(f.Values)
	case "NAME":
		e.rule = append(e.rule, "name in "+list(f.Values))
	case "CVE_ID":
		e.rule = append(e.rule, "cves.exists(c, c in "+list(f.Values)+")")
	case "ADVISORY_ID":
		e.rule = append(e.rule, "advisories.exists(a, a in "+list(f.Values)+")")
	case "SECURITY":
		if !slices.ContainsFunc(f.Values, func(v string) bool { return strings.EqualFold(v, "true") || v == "1" }) {
			return e.cannot(f)
		}
		e.rule = append(e.rule, "security")
	default:
		return e.cannot(f)
	}
	return true
}

// everything reports whether a filter lists all values that there are.
func everything(f patchFilter) bool {
	missing := func(v string) bool { return !slices.Contains(f.Values, v) }
	return slices.Contains(f.Values, "All") || f.Key == "PRIORITY" && !slices.ContainsFunc([]string{"Required", "Important", "Standard", "Optional", "Extra"}, missing)
}

func (e *expression) cannot(f patchFilter) bool {
	e.d.note(e.at, LeftOut, "%s (%s) is nothing that is known here of an update. Without it the rule would install more, so the rule is left out.", plain(f.Key), plain(strings.Join(f.Values, ", ")))
	return false
}

// products: "Debian12", "Ubuntu22.04", "AmazonLinux2", "RedhatEnterpriseLinux8.10".
func (e *expression) products(values []string) bool {
	var any []string
	for _, v := range values {
		at := strings.IndexAny(v, "0123456789")
		if at <= 0 {
			return e.cannot(patchFilter{Key: "PRODUCT", Values: values})
		}
		version := strings.TrimSuffix(v[at:], ".*")
		if !productVersion.MatchString(version) {
			return e.cannot(patchFilter{Key: "PRODUCT", Values: values})
		}
		any = append(any, "os_version == "+quoted(version))
	}
	slices.Sort(any)
	joined := strings.Join(slices.Compact(any), " || ")
	if len(any) > 1 {
		joined = "(" + joined + ")"
	}
	e.selection = append(e.selection, joined)
	return true
}

var productVersion = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,2})?$`)

// classes: of all that AWS knows, only security is known here. The others are dropped, which narrows.
func (e *expression) classes(values []string) bool {
	var others []string
	for _, v := range values {
		if v != "Security" {
			others = append(others, v)
		}
	}
	if len(others) == len(values) {
		return e.cannot(patchFilter{Key: "CLASSIFICATION", Values: values})
	}
	if len(others) > 0 {
		e.d.note(e.at, LeftOut, "Of the classifications only Security is known here; %s is left out, so the task installs less.", plain(strings.Join(others, ", ")))
	}
	e.rule = append(e.rule, "security")
	return true
}

// severities of AWS as they are called here.
var severities = map[string]string{"Critical": "critical", "Important": "high", "High": "high", "Medium": "medium", "Moderate": "medium", "Low": "low", "None": "unrated", "Unspecified": "unrated"}

func (e *expression) severities(values []string) bool {
	var out []string
	for _, v := range values {
		s, ok := severities[v]
		if !ok {
			return e.cannot(patchFilter{Key: "SEVERITY", Values: values})
		}
		out = append(out, s)
	}
	slices.Sort(out)
	e.rule = append(e.rule, "severity in "+list(slices.Compact(out)))
	return true
}

func list(values []string) string {
	var out []string
	for _, v := range values {
		out = append(out, quoted(plain(v)))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// lists makes decisions of the patches that are approved and rejected by name.
func (r *baselineReader) lists() {
	eco := systems[r.b.OperatingSystem].ecosystem
	for _, patch := range r.b.ApprovedPatches {
		r.patch("ApprovedPatches", patch, eco, approval.Approved)
	}
	for _, patch := range r.b.RejectedPatches {
		r.patch("RejectedPatches", patch, eco, approval.Declined)
	}
	if len(r.b.RejectedPatches) > 0 && r.b.RejectedPatchesAction == "ALLOW_AS_DEPENDENCY" {
		r.d.note(r.at+", RejectedPatchesAction", Differs, "What is declined here stays out as a dependency too. An exception lets one update pass, with a reason and an end.")
	}
}

var (
	cve      = regexp.MustCompile(`^CVE-[0-9]{4}-[0-9]{4,}$`)
	advisory = regexp.MustCompile(`^(RHSA|RHBA|RHEA|ALAS[0-9A-Z-]*|ELSA|DSA|USN)-[0-9A-Za-z:.-]+$`)
	kb       = regexp.MustCompile(`^KB[0-9]{5,8}$`)
)

// patch is one entry of a list: an advisory or vulnerability, a package, or a package with a version.
func (r *baselineReader) patch(field, patch, eco string, status approval.Status) {
	w := Wish{At: fmt.Sprintf("%s, %s %s", r.at, field, plain(patch)), Status: status, Group: r.group, Reason: cmp.Or(plain(r.b.Name), r.b.BaselineID) + ": " + field}
	if cve.MatchString(patch) || advisory.MatchString(patch) || kb.MatchString(patch) {
		w.Names = []Pattern{{Text: patch, Match: Title}}
		r.d.Wishes = append(r.d.Wishes, w)
		return
	}
	name, version := patchName(patch, eco)
	p, ok := newPattern(name)
	if !ok || strings.HasPrefix(name, "/") {
		r.d.note(w.At, LeftOut, "It is no name that can be read.")
		return
	}
	w.Names, w.Version = []Pattern{p}, version
	switch {
	case status == approval.Declined && version == "":
		w.Later = true
	case status == approval.Approved && version == "":
		w.Newest = true
		r.d.note(w.At, Differs, "AWS approves every version of it, also those to come. An approval here is of one release: the newest that is known is approved. A rule `name == …` in a task takes later ones.")
	}
	r.d.Wishes = append(r.d.Wishes, w)
}

// patchName divides what AWS calls a patch: name, name.arch, name_version (deb), name-version-release.arch (rpm), each with one wild card.
func patchName(patch, eco string) (name, version string) {
	patch = strings.TrimSuffix(strings.TrimSuffix(patch, ".deb"), ".rpm")
	if eco == "deb" {
		name, rest, _ := strings.Cut(patch, "_")
		version, _, _ := strings.Cut(rest, "_")
		return strings.TrimSuffix(name, ".*"), version
	}
	for _, arch := range []string{".x86_64", ".noarch", ".aarch64", ".i686"} {
		patch = strings.TrimSuffix(patch, arch)
	}
	if m := rpmName.FindStringSubmatch(patch); m != nil {
		return m[1], m[2]
	}
	return patch, ""
}

// rpmName is a name with a version, and perhaps a release, that begin with a digit.
var rpmName = regexp.MustCompile(`^(.+?)-((?:[0-9]+:)?[0-9][^-]*(?:-[0-9*][^-]*)?)$`)

// rest notes what else the baseline says.
func (r *baselineReader) rest() {
	if r.b.ApprovedPatchesEnableNonSecurity {
		r.d.note(r.at+", ApprovedPatchesEnableNonSecurity", AsIs, "What is approved by name installs here whether it is a security update or not.")
	}
	if l := r.b.ApprovedPatchesComplianceLevel; l != "" && l != "UNSPECIFIED" {
		r.d.note(r.at+", ApprovedPatchesComplianceLevel", LeftOut, "The compliance level %s is left out: compliance has no levels here.", plain(l))
	}
	for _, s := range r.b.Sources {
		r.d.note(r.at+", Sources", LeftOut, "The repository %s is left out: devices keep their own package sources.", plain(s.Name))
	}
	if len(r.b.PatchGroups) > 0 {
		r.d.note(r.at+", PatchGroups", LeftOut, "Which devices are in the patch groups %s is not in the file: name the group here with --group.", plain(strings.Join(r.b.PatchGroups, ", ")))
	}
}

func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most])
	}
	return s
}
