package lab_test

import (
	"context"
	"fmt"
	"log"

	"assent/lab"
	"assent/lab/debrepo"
)

// A lab with one device that has version 1.0 of everything, and then updates that come out.
func Example() {
	ctx := context.Background()
	l, err := lab.Open(ctx, lab.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	base, err := lab.Base(ctx, lab.StandardBase())
	if err != nil {
		log.Fatal(err)
	}
	d, err := l.NewDevice(ctx, lab.DeviceSpec{Name: "d1", Base: base})
	if err != nil {
		log.Fatal(err)
	}
	repo, source, err := l.AcmeRepo()
	if err != nil {
		log.Fatal(err)
	}
	if err := d.SetSources(source); err != nil {
		log.Fatal(err)
	}
	if err := d.InstallAcme(ctx); err != nil {
		log.Fatal(err)
	}
	if err := lab.PublishAcme(repo, 1); err != nil {
		log.Fatal(err)
	}
	if _, err := d.Output(ctx, "apt-get", "update"); err != nil {
		log.Fatal(err)
	}
	if _, err := d.Output(ctx, "apt-get", "-y", "install", "acme-app=1.1"); err != nil {
		log.Fatal(err)
	}
	out, _, code, err := d.Run(ctx, "acme-app")
	fmt.Print(out, code, err)
	// Output:
	// acme-app 1.1
	// 0 <nil>
}

// A repository whose next state is signed by a stranger, on a server that takes its time.
func Example_faults() {
	ctx := context.Background()
	l, err := lab.Open(ctx, lab.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	repo, err := l.Repo("tools")
	if err != nil {
		log.Fatal(err)
	}
	err = repo.Publish(debrepo.Suite{
		Name: "tools", Origin: "Tools", Seal: debrepo.WrongKey,
		Packages: []debrepo.Package{{Name: "hammer", Version: "1.0"}, {Name: "hammer", Version: "1.1"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := repo.SetFaults(debrepo.Fault{Match: ".deb", Kind: debrepo.Slow, Rate: 1}); err != nil {
		log.Fatal(err)
	}
	file, err := repo.Pool("hammer", "1.1")
	fmt.Println(file, err)
	// Output:
	// pool/main/h/hammer/hammer_1.1_all.deb <nil>
}
