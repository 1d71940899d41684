//go:build !linux

package disk

import "os"

func Build(string) (string, error)          { return "", ErrUnsupported }
func (Disk) Fdatasync(*os.File) error       { return ErrUnsupported }
func (Disk) Locked(func() error) error      { return ErrUnsupported }
func (Disk) Synced(string) ([]byte, error)  { return nil, ErrUnsupported }
func (Disk) Written(string) ([]byte, error) { return nil, ErrUnsupported }
func (Disk) Restart() error                 { return ErrUnsupported }
