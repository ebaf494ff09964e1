package facts

import (
	"os"
	"path/filepath"
	"testing"
)

// zoneData is a file of the host's own database of zones.
func zoneData(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/usr/share/zoneinfo", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestT4_TheTimeZoneIsTheOneThatTheCLibraryUsesAndEmptyWhereItHasNoName(t *testing.T) {
	berlin, plain := zoneData(t, "Europe/Berlin"), zoneData(t, "Etc/UTC")
	for name, tc := range map[string]struct {
		link  string
		files map[string]string
		want  string
	}{
		"no setting is UTC":                       {want: "UTC"},
		"without localtime timezone says nothing": {files: map[string]string{"etc/timezone": "Europe/Berlin\n"}, want: "UTC"},
		"a link names it":                         {link: "/usr/share/zoneinfo/Europe/Berlin", want: "Europe/Berlin"},
		"a link that is not absolute":             {link: "../usr/share/zoneinfo/America/New_York", want: "America/New_York"},
		"a link to UTC":                           {link: "/usr/share/zoneinfo/Etc/UTC", want: "Etc/UTC"},
		"the second copy of the database":         {link: "/usr/share/zoneinfo/posix/Asia/Tokyo", want: "Asia/Tokyo"},
		"a link to something else":                {link: "/nowhere/at/all", want: ""},
		"a link to nothing beside timezone":       {link: "/nowhere/at/all", files: map[string]string{"etc/timezone": "Europe/Berlin\n"}, want: ""},
		"a copy has no name":                      {files: map[string]string{"etc/localtime": berlin}, want: ""},
		"a copy that timezone names": {files: map[string]string{"etc/localtime": berlin, "etc/timezone": "Europe/Berlin\n",
			"usr/share/zoneinfo/Europe/Berlin": berlin}, want: "Europe/Berlin"},
		"a copy of another zone than timezone names": {files: map[string]string{"etc/localtime": berlin, "etc/timezone": "Asia/Tokyo\n",
			"usr/share/zoneinfo/Asia/Tokyo": zoneData(t, "Asia/Tokyo")}, want: ""},
		"a copy of UTC": {files: map[string]string{"etc/localtime": plain}, want: "UTC"},
		"an empty file": {files: map[string]string{"etc/localtime": ""}, want: ""},
		"rubbish":       {files: map[string]string{"etc/localtime": "TZif2 and no more", "etc/timezone": "../../etc/shadow"}, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := root(t, tc.files)
			if tc.link != "" {
				if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(tc.link, filepath.Join(dir, "etc/localtime")); err != nil {
					t.Fatal(err)
				}
			}
			if got := Read(dir).TimeZone; got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
