package index

// Ecosystem is that of the device's package manager; empty while what is installed is not known.
func (d Device) Ecosystem() string {
	if d.record.inventory == nil {
		return ""
	}
	return d.record.inventory.ecosystem
}
