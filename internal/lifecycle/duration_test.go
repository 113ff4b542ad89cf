package lifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT15M":                      15 * time.Minute,
		"P7D":                        7 * day,
		"P3Y6M4DT12H30M5S":           1279*day + 12*time.Hour + 30*time.Minute + 5*time.Second,
		"P2W":                        14 * day,
		"PT0.5S":                     500 * time.Millisecond,
		"PT0S":                       0,
		"P1DT0.000000001S":           day + 1,
		"P10675199DT2H48M5.4775807S": Unlimited,
		"P99999999999999999999D":     Unlimited,
	} {
		got, err := ParseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{"", "P", "PT", "15M", "P1", "PT1M1H", "P1H", "PT1.5M", "PT.5S", "PT1.S", "-PT1S", "PT-1S", "PT1M1M", "P1DT", "PT1.0000000001S", "PT1,5S", "P1D "} {
		_, err := ParseDuration(bad)
		require.Error(t, err, bad)
	}
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"PT15M":                      15 * time.Minute,
		"P1279DT12H30M5S":            1279*day + 12*time.Hour + 30*time.Minute + 5*time.Second,
		"PT0S":                       0,
		"P7D":                        7 * day,
		"PT0.05S":                    50 * time.Millisecond,
		"P10675199DT2H48M5.4775807S": Unlimited,
	} {
		require.Equal(t, want, FormatDuration(d))
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"PT15M", "P3Y6M4DT12H30M5S", "P10675199DT2H48M5.4775807S", "P2W", "PT0.000000001S"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, d, time.Duration(0))
		again, err := ParseDuration(FormatDuration(d))
		require.NoError(t, err)
		require.Equal(t, d, again)
	})
}
