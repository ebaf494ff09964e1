package migrate

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/criteria"
	"assent/fault"
	"assent/task"
)

// rule is a baseline for Debian with one rule.
func oneRule(t *testing.T, rule string) Draft {
	t.Helper()
	d, err := Baseline("b.json", []byte(`{"BaselineId":"pb-1","Name":"Base","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[`+rule+`]}}`), "Web")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func filtered(key string, values ...string) string {
	raw, _ := json.Marshal(values)
	return `{"PatchFilterGroup":{"PatchFilters":[{"Key":"` + key + `","Values":` + string(raw) + `}]},"EnableNonSecurity":true}`
}

// TestEveryFilterIsSaidOrTheRuleIsLeftOut is the table of what PatchFilter.Key can be.
func TestEveryFilterIsSaidOrTheRuleIsLeftOut(t *testing.T) {
	for _, c := range []struct{ name, rule, selection, criteria string }{
		{"nothing", `{"EnableNonSecurity":true,"ApproveAfterDays":0}`, `os == "debian"`, `ecosystem == "deb"`},
		{"only security", `{"ApproveAfterDays":7}`, `os == "debian"`, `age_release >= days(7) && ecosystem == "deb" && security`},
		{"a product", filtered("PRODUCT", "Debian12"), `os == "debian" && os_version == "12"`, `ecosystem == "deb"`},
		{"products", filtered("PRODUCT", "Debian12", "Debian11"), `os == "debian" && (os_version == "11" || os_version == "12")`, `ecosystem == "deb"`},
		{"all products", filtered("PRODUCT", "*"), `os == "debian"`, `ecosystem == "deb"`},
		{"all priorities", filtered("PRIORITY", "Required", "Important", "Standard", "Optional", "Extra"), `os == "debian"`, `ecosystem == "deb"`},
		{"some priorities", filtered("PRIORITY", "Required"), "", ""},
		{"a section", filtered("SECTION", "main"), "", ""},
		{"security, among others", filtered("CLASSIFICATION", "Security", "Bugfix"), `os == "debian"`, `ecosystem == "deb" && security`},
		{"only others", filtered("CLASSIFICATION", "Bugfix"), "", ""},
		{"severities", filtered("SEVERITY", "Important", "Critical", "Moderate"), `os == "debian"`, `ecosystem == "deb" && severity in ["critical", "high", "medium"]`},
		{"a severity that is none", filtered("SEVERITY", "Dire"), "", ""},
		{"names", filtered("NAME", "openssl", `o"dd`), `os == "debian"`, `ecosystem == "deb" && name in ["openssl", "o\"dd"]`},
		{"vulnerabilities", filtered("CVE_ID", "CVE-2024-6119"), `os == "debian"`, `cves.exists(c, c in ["CVE-2024-6119"]) && ecosystem == "deb"`},
		{"advisories", filtered("ADVISORY_ID", "DSA-1-1"), `os == "debian"`, `advisories.exists(a, a in ["DSA-1-1"]) && ecosystem == "deb"`},
		{"whether it is for security", filtered("SECURITY", "True"), `os == "debian"`, `ecosystem == "deb" && security`},
		{"whether it is not", filtered("SECURITY", "False"), "", ""},
		{"a product that is none", filtered("PRODUCT", "Toaster"), "", ""},
		{"a product without numbers", filtered("PRODUCT", "Debian12x"), "", ""},
		{"a filter of tomorrow", filtered("MOON", "full"), "", ""},
		{"a date", `{"ApproveUntilDate":"2026-06-30"}`, "", ""},
		{"too many days", `{"ApproveAfterDays":999}`, "", ""},
	} {
		d := oneRule(t, c.rule)
		if c.criteria == "" {
			if len(d.Tasks) != 0 || len(d.Notes) == 0 || d.Notes[0].Kind != LeftOut || d.Notes[0].At != "b.json, rule 1" {
				t.Errorf("%s: %+v", c.name, d)
			}
			continue
		}
		if len(d.Tasks) != 1 || len(d.Tasks[0].Rules) != 1 {
			t.Errorf("%s: %+v", c.name, d)
			continue
		}
		got := d.Tasks[0]
		if diff := cmp.Diff([]string{c.selection, c.criteria}, []string{got.Targets.Selection, got.Rules[0].Criteria}); diff != "" || got.Rules[0].Admits != task.ApprovedOrUndefined || got.Targets.Groups[0] != "Web" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if _, err := criteria.CompileSelection(got.Targets.Selection); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestABaselineMakesOneTaskForEachSetOfProducts(t *testing.T) {
	d := oneRule(t, filtered("PRODUCT", "Debian12")+","+filtered("PRODUCT", "Debian11")+","+filtered("PRODUCT", "Debian12"))
	if len(d.Tasks) != 2 || len(d.Tasks[0].Rules) != 2 || d.Tasks[0].Name != "Base" || d.Tasks[1].Name != "Base (2)" {
		t.Errorf("%+v", d.Tasks)
	}
	both := d
	both.Merge(oneRule(t, filtered("PRODUCT", "Debian12")))
	if len(both.Tasks) != 3 || both.Tasks[2].Name != "Base (3)" {
		t.Errorf("%+v", both.Tasks)
	}
}

func TestPatchesByNameBecomeDecisions(t *testing.T) {
	for _, c := range []struct{ system, field, patch, want string }{
		{"DEBIAN", "ApprovedPatches", "openssl_3.0.2", "approved openssl 3.0.2"},
		{"DEBIAN", "ApprovedPatches", "openssl_3.0.2_amd64.deb", "approved openssl 3.0.2"},
		{"DEBIAN", "ApprovedPatches", "openssl", "approved openssl newest"},
		{"DEBIAN", "RejectedPatches", "linux-image*", "declined linux-image* later"},
		{"UBUNTU", "RejectedPatches", "openssl.*", "declined openssl later"},
		{"UBUNTU", "ApprovedPatches", "CVE-2024-6119", "approved CVE-2024-6119"},
		{"AMAZON_LINUX_2023", "RejectedPatches", "dbus-1.12.28-1.amzn2023.0.1.x86_64", "declined dbus 1.12.28-1.amzn2023.0.1"},
		{"REDHAT_ENTERPRISE_LINUX", "RejectedPatches", "dbus-1:1.12.2*", "declined dbus 1:1.12.2*"},
		{"REDHAT_ENTERPRISE_LINUX", "RejectedPatches", "java-17-openjdk", "declined java-17-openjdk later"},
		{"REDHAT_ENTERPRISE_LINUX", "ApprovedPatches", "RHSA-2017:0864", "approved RHSA-2017:0864"},
		{"WINDOWS", "RejectedPatches", "KB5012345", "declined KB5012345"},
		{"DEBIAN", "RejectedPatches", "a[", ""},
	} {
		d, err := Baseline("b", []byte(`{"BaselineId":"pb-1","OperatingSystem":"`+c.system+`","`+c.field+`":["`+c.patch+`"]}`), "")
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if len(d.Wishes) != 0 || len(d.Notes) != 1 {
				t.Errorf("%s: %+v", c.patch, d)
			}
			continue
		}
		if len(d.Wishes) != 1 || describe(d.Wishes[0]) != c.want || d.Wishes[0].Reason != "pb-1: "+c.field {
			t.Errorf("%s: %q %+v", c.patch, describe(d.Wishes[0]), d)
		}
	}
}

func TestWhatABaselineSaysBesidesIsTold(t *testing.T) {
	d, err := Baseline("b", []byte(`{"BaselineId":"pb-1","OperatingSystem":"WINDOWS","ApprovalRules":{"PatchRules":[{"ComplianceLevel":"HIGH"}]},"RejectedPatches":["KB5012345"],"RejectedPatchesAction":"ALLOW_AS_DEPENDENCY",
		"ApprovedPatchesComplianceLevel":"HIGH","ApprovedPatchesEnableNonSecurity":true,"Sources":[{"Name":"mine","Products":["*"],"Configuration":"x"}],"PatchGroups":["prod"],"Surprise":1}`), "")
	if err != nil || len(d.Tasks) != 0 {
		t.Fatal(d, err)
	}
	all := ""
	for _, n := range d.Notes {
		all += n.At + ": " + n.Text + "\n"
	}
	for _, want := range []string{"Surprise", "WINDOWS", "RejectedPatchesAction", "level HIGH", "security update or not", "repository mine", "patch groups prod"} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing tells of %s:\n%s", want, all)
		}
	}
	for _, raw := range []string{``, `[]`, `{}`, `{"BaselineId":"x"}`, `{"BaselineId":5,"OperatingSystem":"DEBIAN"}`, `null`, "\xff"} {
		if _, err := Baseline("b", []byte(raw), ""); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestGlobalFiltersNarrowEveryRule(t *testing.T) {
	d, err := Baseline("b", []byte(`{"BaselineId":"pb-1","OperatingSystem":"UBUNTU","GlobalFilters":{"PatchFilters":[{"Key":"SEVERITY","Values":["Critical"]}]},
		"ApprovalRules":{"PatchRules":[{"EnableNonSecurity":true},{"PatchFilterGroup":{"PatchFilters":[{"Key":"NAME","Values":["x"]}]},"EnableNonSecurity":true}]}}`), "")
	if err != nil || len(d.Tasks) != 1 || len(d.Tasks[0].Rules) != 2 {
		t.Fatal(d, err)
	}
	for _, r := range d.Tasks[0].Rules {
		if !strings.Contains(r.Criteria, `severity in ["critical"]`) {
			t.Error(r.Criteria)
		}
	}
}

func TestWSUS_EveryActionBecomesAWishOrANote(t *testing.T) {
	for _, c := range []struct{ name, row, want, note string }{
		{"approved", `"Web","Install","","False",""`, "approved Web", ""},
		{"approved for all", `"All Computers","Install","","False",""`, "approved ", ""},
		{"declined", `"","","","True",""`, "declined ", ""},
		{"removed", `"Web","Uninstall","","False",""`, "declined Web", "differs"},
		{"not approved", `"Web","NotApproved","","False",""`, "", "as_is"},
		{"with a deadline", `"Web","Install","12/1/2026 3:00:00 AM","False",""`, "approved Web", "left_out"},
		{"without one", `"Web","Install","12/31/9999 11:59:59 PM","False",""`, "approved Web", ""},
		{"optional", `"Web","Install","","False","True"`, "approved Web", "differs"},
		{"all of its groups", `"","Install (3/3)","","False",""`, "approved ", ""},
		{"some groups", `"","Install (1/3)","","False",""`, "", "left_out"},
	} {
		d, err := Approvals("w.csv", []byte("\"Title\",\"TargetGroup\",\"Action\",\"Deadline\",\"IsDeclined\",\"IsOptional\"\r\n\"An update (KB5012345)\","+c.row+"\r\n"))
		if err != nil {
			t.Fatal(c.name, err)
		}
		got := ""
		if len(d.Wishes) == 1 {
			got = string(d.Wishes[0].Status) + " " + d.Wishes[0].Group
			if names := d.Wishes[0].Names; len(names) != 2 || names[1].Text != "KB5012345" {
				t.Errorf("%s: %+v", c.name, names)
			}
		}
		notes := kinds(d)
		if len(d.Groups) > 0 { // that it has no parent
			notes = notes[:len(notes)-1]
		}
		if got != c.want || (c.note == "") != (len(notes) == 0) || c.note != "" && !strings.HasPrefix(notes[0], c.note) {
			t.Errorf("%s: %q %q, want %q %q", c.name, got, notes, c.want, c.note)
		}
	}
}

func TestWSUS_UpdatesMatchByTitleWithVersionAndByNumber(t *testing.T) {
	d, err := Approvals("w", []byte("Title,Action\nAcme Ledger 2.0,Install\nAcme Ledger,Install\nKB5012345 something,Declined\n"))
	if err != nil {
		t.Fatal(err)
	}
	ledger := func(version string) Known {
		return Known{PURL: "pkg:generic/feed.acme/ledger@" + version, Name: "ledger", Version: version, Title: "Acme Ledger"}
	}
	fix := Known{PURL: "pkg:generic/feed.acme/fix@1", Name: "fix", Version: "1", Advisories: []string{"kb5012345"}}
	got, notes := d.Resolve([]Known{ledger("1.0"), ledger("2.0"), fix})
	if len(got) != 2 || got[0].Update != fix.PURL || got[0].Status != approval.Declined || got[1].Update != ledger("2.0").PURL || got[1].Status != approval.Approved || len(notes) != 1 || notes[0].Kind != NotKnown {
		t.Errorf("%+v %+v", got, notes)
	}
}

func TestPowerShellsFormatsSayTheSame(t *testing.T) {
	table := "\"Title\",\"TargetGroup\",\"Action\"\r\n\"A \"\"b\"\" update 1.0\",\"Web\",\"Install\"\r\n"
	utf16 := func(s string) string {
		out := "\xff\xfe"
		for _, r := range s {
			out += string([]byte{byte(r), byte(r >> 8)})
		}
		return out
	}
	clixml := `<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04"><Obj RefId="0"><TN RefId="0"><T>Selected.System.Object</T></TN><MS><S N="Title">A "b" update_x0020_1.0</S><S N="TargetGroup">Web</S><Obj N="Action" RefId="1"><TN RefId="1"><T>Microsoft.UpdateServices.Administration.UpdateApprovalAction</T><T>System.Enum</T></TN><ToString>Install</ToString><I32>0</I32></Obj><Nil N="Deadline" /></MS></Obj></Objs>`
	list := `<Objs xmlns="http://schemas.microsoft.com/powershell/2004/04"><Obj RefId="0"><LST><Obj RefId="1"><MS><S N="Title">A "b" update 1.0</S><S N="TargetGroup">Web</S><S N="Action">Install</S></MS></Obj></LST></Obj></Objs>`
	for name, in := range map[string]string{"csv": table, "csv with type": "#TYPE Selected.System.Object\r\n" + table, "csv of another culture": strings.ReplaceAll(table, ",", ";"),
		"csv in UTF-8 with a mark": "\xef\xbb\xbf" + table, "csv in UTF-16": utf16(table), "json": `[{"Title":"A \"b\" update 1.0","TargetGroup":"Web","Action":"Install"}]`,
		"one object of json": `{"Title":"A \"b\" update 1.0","TargetGroup":{"Name":"Web"},"Action":{"value":"Install","Value":0}}`, "clixml": clixml, "clixml in UTF-16": utf16(clixml), "clixml of a list": list} {
		d, err := Approvals("w", []byte(in))
		if err != nil || len(d.Wishes) != 1 || d.Wishes[0].Names[0].Text != `A "b" update 1.0` || d.Wishes[0].Group != "Web" || d.Wishes[0].Status != approval.Approved {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
	for name, in := range map[string]string{"nothing": "", "half a character": "\xff\xfea", "no title": "Action\nInstall\n", "no action": "Title\nx\n", "ragged": "Title,Action\nx\n", "json of numbers": "[1]",
		"other xml": "<html/>", "cut off": "<Objs><Obj>", "a document type": `<!DOCTYPE x [<!ENTITY a "b">]><Objs/>`, "no object": "<Objs><S>x</S></Objs>", "deep": "<Objs>" + strings.Repeat("<Obj>", 100), "no text": "\xfe\xfe"} {
		if d, err := Approvals("w", []byte(in)); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
}

func TestWSUS_GroupsComeAfterTheirParents(t *testing.T) {
	d, err := Approvals("w", []byte("Title,Action,TargetGroup,ParentTargetGroup\nx,Install,Child,Parent\ny,Install,Parent,All Computers\nz,Install,Self,Self\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Group{{Name: "Parent"}, {Name: "Child", Parent: "Parent"}, {Name: "Self"}}, d.Groups); diff != "" {
		t.Error(diff)
	}
}

// FuzzReaders gives every reader anything: it answers or refuses, and what it answers is whole.
func FuzzReaders(f *testing.F) {
	f.Add([]byte("Package: a /b/ src:c*\nPin: version 1.*\nPin-Priority: 1001\n\nPackage: *\nPin: release o=Debian,n=x\nPin-Priority: -1\n"))
	f.Add([]byte("Package: a\nStatus: hold ok installed\nSource: b (1)\nVersion: 1+b1\n"))
	f.Add([]byte("a hold\nb install\n"))
	f.Add([]byte(uu))
	f.Add([]byte(`{"BaselineId":"pb","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[` + filtered("PRODUCT", "Debian12") + `]},"RejectedPatches":["x_1","KB5012345"]}`))
	f.Add([]byte("Title,Action,TargetGroup\nx 1.0,Install (1/2),Web\n"))
	f.Add([]byte(`<Objs><Obj RefId="0"><Props><S N="Title">x</S><Ref N="Update" RefId="0"/><S N="Approved">Declined</S></Props></Obj></Objs>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		conf := AptConf{}
		_ = conf.Read("c", raw)
		readers := []func() (Draft, error){
			func() (Draft, error) { return Preferences("p", raw, "") }, func() (Draft, error) { return Holds("h", raw, "") }, func() (Draft, error) { return Baseline("b", raw, "") },
			func() (Draft, error) { return Approvals("w", raw) }, func() (Draft, error) { return Unattended(conf, Archive{Origin: "Debian", Name: "x"}, ""), nil },
		}
		for i, read := range readers {
			d, err := read()
			if err != nil {
				if fault.From(err).Kind == fault.Internal {
					t.Fatalf("reader %d refuses without a sentence: %v", i, err)
				}
				continue
			}
			whole(t, d)
			if again, _ := read(); !cmp.Equal(kinds(d), kinds(again)) {
				t.Fatalf("reader %d says something else the second time", i)
			}
		}
	})
}

// whole demands of a draft that everything in it can be used.
func whole(t *testing.T, d Draft) {
	for _, w := range d.Wishes {
		if len(w.Names) == 0 || w.At == "" || w.Reason == "" || w.Status != approval.Approved && w.Status != approval.Declined {
			t.Fatalf("%+v", w)
		}
	}
	for _, n := range d.Notes {
		if n.At == "" || n.Text == "" || n.Kind == "" {
			t.Fatalf("%+v", n)
		}
	}
	for _, made := range d.Tasks {
		for _, r := range made.Rules {
			if _, err := criteria.CompileRule(r.Criteria); err != nil || !r.Admits.Valid() || made.Name == "" {
				t.Fatalf("%+v: %v", made, err)
			}
		}
	}
	got, notes := d.Resolve([]Known{known("a", "1"), known("a", "2"), known("x", "1.0")})
	if len(got)+len(notes) < min(len(d.Wishes), 1) {
		t.Fatalf("wishes without an answer: %+v", d.Wishes)
	}
}
