package restart

import (
	"regexp"
	"strings"
)

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]{1,240}\.service$`)

// UnitName reports whether a name is one of a service that may be handed to systemctl.
func UnitName(name string) bool { return unitName.MatchString(name) && name[0] != '-' }

// spares maps services that are never restarted by themselves to what would end with them. A name that ends with "*" means all
// that begin so. Of a unit such as getty@tty1.service the part before the @ counts.
func spares() map[string]string {
	return map[string]string{
		"init":                "It is the init of the device.",
		"systemd-*":           "It is a part of systemd.",
		"user":                "It is somebody's session.",
		"dbus":                "Everything talks through it.",
		"dbus-*":              "Everything talks through it.",
		"assent-*":            "It is Assent itself.",
		"getty":               "Somebody may be signed in on it.",
		"serial-getty":        "Somebody may be signed in on it.",
		"console-getty":       "Somebody may be signed in on it.",
		"container-getty":     "Somebody may be signed in on it.",
		"display-manager":     "The sessions on the screen would end.",
		"gdm*":                "The sessions on the screen would end.",
		"sddm":                "The sessions on the screen would end.",
		"lightdm":             "The sessions on the screen would end.",
		"lxdm":                "The sessions on the screen would end.",
		"xdm":                 "The sessions on the screen would end.",
		"greetd":              "The sessions on the screen would end.",
		"xrdp*":               "The sessions on the screen would end.",
		"NetworkManager":      "The network could be lost.",
		"networking":          "The network could be lost.",
		"network":             "The network could be lost.",
		"ifup":                "The network could be lost.",
		"connman":             "The network could be lost.",
		"wpa_supplicant":      "The network could be lost.",
		"iwd":                 "The network could be lost.",
		"ModemManager":        "The network could be lost.",
		"openvpn*":            "The network could be lost.",
		"wg-quick":            "The network could be lost.",
		"strongswan*":         "The network could be lost.",
		"frr":                 "The network could be lost.",
		"bird*":               "The network could be lost.",
		"docker":              "Containers could end with it.",
		"containerd":          "Containers could end with it.",
		"crio":                "Containers could end with it.",
		"k3s*":                "Containers could end with it.",
		"kubelet":             "Containers could end with it.",
		"lxc*":                "Containers could end with it.",
		"libvirtd":            "Virtual machines could end with it.",
		"virtqemud":           "Virtual machines could end with it.",
		"virtlogd":            "Virtual machines could end with it.",
		"virtlockd":           "Virtual machines could end with it.",
		"xen*":                "Virtual machines could end with it.",
		"multipathd":          "Disks could be lost.",
		"iscsid":              "Disks could be lost.",
		"lvm2-*":              "Disks could be lost.",
		"rpcbind":             "Disks could be lost.",
		"apt-daily*":          "It ends by itself.",
		"unattended-upgrades": "It ends by itself.",
		"packagekit":          "It ends by itself.",
		"emergency":           "Somebody is repairing the device.",
		"rescue":              "Somebody is repairing the device.",
	}
}

// Spared says why a service is never restarted by itself; empty: it may be.
func Spared(unit string) string {
	if !UnitName(unit) {
		return "Its name is not one of a service."
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(unit, ".service"), "@")
	for pattern, why := range spares() {
		prefix, all := strings.CutSuffix(pattern, "*")
		if name == pattern || all && strings.HasPrefix(name, prefix) {
			return why
		}
	}
	return ""
}

// spareText says in a reason why a restart of the device is the only way.
func spareText(name string) string {
	if name == "init" {
		return spares()["init"] + " Only a restart of the device ends that."
	}
	return Spared(name) + " Only a restart of the device ends that."
}
