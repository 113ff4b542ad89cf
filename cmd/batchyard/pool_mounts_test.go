package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPoolMounts(t *testing.T) {
	got, err := poolMounts([]string{"all=s3:", "in/a=s3://bucket/pre/fix", "home=nfs://[fd00::1]/export/home"})
	require.NoError(t, err)
	var shown []string
	for _, m := range got {
		shown = append(shown, mountText(m))
	}
	require.Equal(t, []string{"all: s3://", "in/a: s3://bucket/pre/fix", "home: NFS [fd00::1]:/export/home"}, shown)
	for _, wrong := range []string{"", "x", "=s3:", "a=", "a=smb://h/s", "a=nfs:", "a=bucket"} {
		_, err := poolMounts([]string{wrong})
		require.Error(t, err, wrong)
	}
}
