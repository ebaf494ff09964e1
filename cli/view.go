package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) view() *cobra.Command {
	c := sub("view", "Save lists under a name", a.viewList(), a.viewSave(), a.viewDelete())
	c.Aliases = []string{"views"}
	c.Long = `Save lists under a name: the same views as in the console.

Lists take them with --view NAME; a flag that is given besides counts more than the view.`
	return c
}

func (a *app) viewList() *cobra.Command {
	var list string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your views and the shared ones", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			views, err := c.Views(cmd.Context(), list)
			if err != nil {
				return err
			}
			return a.answer(views, func(p *printer) {
				if len(views.Items) > 0 {
					t := newTable(flex("NAME", 10), col("LIST"), col("ID"), col("FOR"), col("BY"), flex("QUERY", 16))
					for _, v := range views.Items {
						whom := "you"
						if v.Shared {
							whom = "everybody"
						}
						t.add(toned(v.Name, strong), text(v.List), text(v.ID), text(whom), text(v.By), text(v.Query))
					}
					p.table(t)
				}
				rest(p, views, "view")
			})
		},
	}
	c.Flags().StringVar(&list, "list", "", "only views of this list: "+strings.Join(client.ViewLists(), ", "))
	return c
}

func (a *app) viewSave() *cobra.Command {
	var r client.ViewRequest
	c := &cobra.Command{
		Use: "save NAME", Short: "Save a view, in the place of one with this name",
		Example: `  assent view save urgent --list updates --query 'status=undefined&needed=true&severity=critical&severity=high'
  assent view save silent --list devices --query only=silent --shared`,
		Args: args(1, 1, "a name"),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r.Name = names[0]
			saved, err := c.SaveView(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(saved, func(p *printer) { p.line("Saved the view %s of %s (%s).", saved.Name, saved.List, saved.ID) })
		},
	}
	c.Flags().StringVar(&r.List, "list", "updates", "the list: "+strings.Join(client.ViewLists(), ", "))
	c.Flags().StringVar(&r.Query, "query", "", "what stands behind the ? in the console's address of the list")
	c.Flags().BoolVar(&r.Shared, "shared", false, "for everybody; this is for administrators")
	return c
}

func (a *app) viewDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete VIEW", Aliases: []string{"rm"}, Short: "Delete a view by its name or id", Example: `  assent view delete urgent`, Args: args(1, 1, "a view"),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			v, err := findView(cmd.Context(), c, "", refs[0])
			if err != nil {
				return err
			}
			done, err := c.DeleteView(cmd.Context(), v.ID)
			if err != nil {
				return err
			}
			return a.answer(done, func(p *printer) { p.line("Deleted the view %s of %s.", v.Name, v.List) })
		},
	}
}

// findView finds a view by id or name; one's own before a shared one.
func findView(ctx context.Context, c *client.Client, list, ref string) (client.ViewRow, error) {
	all, err := c.Views(ctx, list)
	if err != nil {
		return client.ViewRow{}, err
	}
	found := slices.DeleteFunc(all.Items, func(v client.ViewRow) bool { return v.ID != ref && v.Name != ref })
	if own := slices.DeleteFunc(slices.Clone(found), func(v client.ViewRow) bool { return v.Shared }); len(own) > 0 {
		found = own
	}
	switch len(found) {
	case 0:
		return client.ViewRow{}, usage("there is no saved view %q; `assent view list` shows all", clean(ref))
	case 1:
		return found[0], nil
	}
	return client.ViewRow{}, usage("%q names %d views; give the id of one of them", clean(ref), len(found))
}

// addView adds the flag that takes a saved view.
func addView(c *cobra.Command) {
	c.Flags().String("view", "", "a saved view of this list; flags that are given besides count more")
}

// useView sets the flags of a list as the view that --view names says, but for those that were given.
func (a *app) useView(cmd *cobra.Command, c *client.Client, list string) error {
	flags := cmd.Flags()
	name := flags.Lookup("view").Value.String()
	if name == "" || list == "updates" && name == client.Seamless {
		return nil
	}
	v, err := findView(cmd.Context(), c, list, name)
	if err != nil {
		return err
	}
	q, err := url.ParseQuery(v.Query)
	if err != nil {
		return usage("the view %q cannot be read", clean(v.Name))
	}
	if list == "updates" {
		if err := flags.Set("view", q.Get("view")); err != nil {
			return usage("the view %q cannot be used: %v", clean(v.Name), err)
		}
	}
	given := map[string]bool{"view": true}
	for key := range q {
		given[key] = given[key] || flags.Lookup(key) == nil || flags.Changed(key)
	}
	for key, values := range q {
		for _, value := range values {
			if given[key] {
				continue
			}
			if err := flags.Set(key, value); err != nil {
				return usage("the view %q cannot be used: %v", clean(v.Name), err)
			}
		}
	}
	return nil
}
