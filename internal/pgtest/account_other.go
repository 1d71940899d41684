//go:build !unix

package pgtest

import (
	"fmt"
	"os/exec"
	"runtime"
)

type account struct{}

func serverAccount() (*account, error) {
	return nil, fmt.Errorf("%w: it cannot be started by tests on %s; name a running server in %s",
		ErrNotInstalled, runtime.GOOS, EnvServer)
}

func (*account) own(string) error { return nil }

func (*account) apply(*exec.Cmd) {}

func killTree(int) error { return ErrExternal }
