package server

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"assent/server/internal/sizing"
)

// sizing prints what a server for a fleet needs.
func (c *command) sizing() *cobra.Command {
	f := sizing.Fleet{Updates: sizing.DefaultUpdates, Interval: sizing.DefaultInterval, Installs: sizing.DefaultInstalls, Cores: sizing.DefaultCores}
	asJSON := false
	cmd := &cobra.Command{Use: "sizing --devices N", Short: "Estimate what a server for a fleet needs, with the arithmetic", Args: cobra.NoArgs,
		Long: `Estimates CPU, memory and disk of a server for a fleet, from constants that the benchmark measured on its machine
(docs/benchmarks.md), and shows the arithmetic. It reads no configuration and touches no server.`,
		Example: "  assentd sizing --devices 20000\n  assentd sizing --devices 100000 --updates 5000 --interval 5m --cores 4 --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			constants, err := sizing.Measured()
			if err != nil {
				return err
			}
			e, err := sizing.For(f, constants)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(e)
			}
			return printEstimate(cmd, e)
		}}
	flags := cmd.Flags()
	flags.IntVar(&f.Devices, "devices", 0, "devices of the fleet")
	flags.IntVar(&f.Updates, "updates", f.Updates, "distinct updates that some device could take")
	flags.DurationVar(&f.Interval, "interval", f.Interval, "time between two check-ins of a device")
	flags.Float64Var(&f.Installs, "installs", f.Installs, "updates that one device installs in a day")
	flags.IntVar(&f.Cores, "cores", f.Cores, "cores of the server")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printEstimate(cmd *cobra.Command, e sizing.Estimate) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, l := range e.Lines {
		fmt.Fprintf(w, "%s\t%.4g %s\t= %s\n", l.What, l.Value, l.Unit, l.How)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintln(out)
	for _, a := range e.Advice {
		fmt.Fprintln(out, a)
	}
	_, err := fmt.Fprintf(out, "\nMeasured on: %s\n", e.Measured.Machine)
	return err
}
