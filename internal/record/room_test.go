package record_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/stretchr/testify/require"
)

// The library is all but its tests and programs. In those the name is also an option's: groupcommit_promises=on.
func TestNoOtherPackageOfTheLibraryHasStatementsOnTheTable(t *testing.T) {
	elsewhere := []string{"bench", "examples", "durable", "internal/record", "internal/enginetest"}
	root, files := filepath.Join("..", ".."), 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(elsewhere, filepath.ToSlash(name)):
			return fs.SkipDir
		case filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && strings.Contains(l.Value, record.Name) {
				t.Errorf("%v has the name of the table; a statement belongs into internal/record, and an error can use record.Name", set.Position(l.Pos()))
			}
			return true
		})
		return nil
	}))
	require.Greater(t, files, 50)
}
