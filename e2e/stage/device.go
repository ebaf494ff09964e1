package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"assent/lab"
)

// agentProcess is the name under which the agent runs on each device.
const agentProcess = "agent"

// Device is a device of the stage with its agent.
type Device struct {
	*lab.Device
	stage *Stage
}

// Enrol makes a token for the group and enrols the device with it; then it starts the agent.
func (d *Device) Enrol(ctx context.Context, group string) error {
	out, err := d.stage.Output(ctx, "token", "create", "--group", group, "--uses", "1", "--json")
	if err != nil {
		return err
	}
	var token struct{ Text string }
	if err := json.Unmarshal([]byte(out), &token); err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	if _, err := d.Output(ctx, "assent-agent", "enrol", "--server", "https://"+agentAddress, "--token", token.Text); err != nil {
		return err
	}
	return d.StartAgent(ctx)
}

// StartAgent starts the agent, now and at every boot.
func (d *Device) StartAgent(ctx context.Context) error {
	_, err := d.StartProcess(ctx, lab.ProcessSpec{Name: agentProcess, Argv: []string{"/usr/bin/assent-agent", "run"}, AtBoot: true})
	return err
}

// Agent is the agent's process.
func (d *Device) Agent() *lab.Process { return d.Process(agentProcess) }

// Version is the installed version of a package; empty when it is not installed.
func (d *Device) Version(ctx context.Context, name string) (string, error) {
	out, _, code, err := d.Run(ctx, "dpkg-query", "-W", "-f=${db:Status-Abbrev}\t${Version}", name)
	if err != nil || code != 0 {
		return "", err
	}
	status, version, _ := strings.Cut(out, "\t")
	if strings.TrimSpace(status) != "ii" {
		return "", nil
	}
	return version, nil
}
