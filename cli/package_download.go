package cli

import (
	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) packageDownload() *cobra.Command {
	var r client.PackageDownload
	c := &cobra.Command{
		Use: "download PACKAGE", Short: "Download an installation package as one file that installs offline", Example: "  assent package download 'Acme Ledger' --arch amd64 --output ledger.deb", Args: args(1, 1, "an installation package"),
		ValidArgsFunction: a.complete(1, packageNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			_, err = c.DownloadPackage(cmd.Context(), names[0], r)
			return err
		},
	}
	return c
}
