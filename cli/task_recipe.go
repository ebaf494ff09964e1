package cli

import (
	"embed"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"
)

//go:embed recipes/*.yaml
var recipes embed.FS

// recipe is a task that many people need, as a file.
type recipe struct {
	Name  string `json:"name"`
	About string `json:"about"` // its first line
	Text  string `json:"text"`
}

// allRecipes reads the built-in files.
func allRecipes() ([]recipe, error) {
	names, err := fs.Glob(recipes, "recipes/*.yaml")
	if err != nil {
		return nil, err
	}
	var out []recipe
	for _, name := range names {
		raw, err := recipes.ReadFile(name)
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(string(raw), "\n")
		out = append(out, recipe{Name: strings.TrimSuffix(path.Base(name), ".yaml"), About: strings.TrimPrefix(first, "# "), Text: string(raw)})
	}
	return out, nil
}

func (a *app) taskRecipe() *cobra.Command {
	return &cobra.Command{
		Use: "recipe [NAME]", Aliases: []string{"recipes"}, Short: "Print a task that many people need, or list them",
		Long:    "Print a ready task as a file to change and save, or list them all. They name the groups Test, Pilot and Production: put yours there.",
		Example: "  assent task recipe\n  assent task recipe patch-tuesday > t.yaml; vi t.yaml; assent task create -f t.yaml --dry-run",
		Args:    args(0, 1, ""),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			all, _ := allRecipes()
			var out []string
			for _, r := range all {
				out = append(out, choice(r.Name, r.About))
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, names []string) error {
			all, err := allRecipes()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				return a.answer(all, func(p *printer) {
					t := newTable(col("NAME"), flex("WHAT IT DOES", 30))
					for _, r := range all {
						t.add(toned(r.Name, strong), text(r.About))
					}
					p.table(t)
				})
			}
			for _, r := range all {
				if r.Name == names[0] {
					return a.answer(r, func(p *printer) { p.raw(r.Text) })
				}
			}
			return usage("there is no recipe %q; `assent task recipe` lists them", clean(names[0]))
		},
	}
}
