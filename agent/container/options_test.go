package container

import (
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/stretchr/testify/require"
)

func TestRunOptions(t *testing.T) {
	words := strings.Fields(`--rm -it --name mine -e A=1 --env=B=x=y -w /work --entrypoint /bin/sh --network host --ipc host --shm-size 64m --cpus 1.5 -m 512m
		--memory-swap -1 --pids-limit 100 --ulimit nofile=100:200 --hostname box --init --read-only --label a=b --dns 1.1.1.1 --add-host h:1.2.3.4
		--cap-drop ALL --stop-signal INT --tmpfs /tmp:size=1m --pull never --platform linux/arm64/v8 -v /scratch --security-opt no-new-privileges`)
	o, err := parseOptions(words)
	require.NoError(t, err)
	require.Empty(t, o.reaches)
	require.Equal(t, []string{"A=1", "B=x=y"}, o.config.Env)
	require.Equal(t, "/work", o.workdir)
	require.Equal(t, []string{"/bin/sh"}, o.config.Entrypoint)
	require.Equal(t, container.NetworkMode("host"), o.host.NetworkMode)
	require.Equal(t, container.IpcMode("host"), o.host.IpcMode)
	require.EqualValues(t, 64<<20, o.host.ShmSize)
	require.EqualValues(t, 1_500_000_000, o.host.NanoCPUs)
	require.EqualValues(t, 512<<20, o.host.Memory)
	require.EqualValues(t, -1, o.host.MemorySwap)
	require.EqualValues(t, 100, *o.host.PidsLimit)
	require.Equal(t, []*container.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}}, o.host.Ulimits)
	require.Equal(t, "box", o.config.Hostname)
	require.True(t, *o.host.Init)
	require.True(t, o.host.ReadonlyRootfs)
	require.Equal(t, map[string]string{"a": "b"}, o.config.Labels)
	require.Equal(t, "1.1.1.1", o.host.DNS[0].String())
	require.Equal(t, []string{"h:1.2.3.4"}, o.host.ExtraHosts)
	require.Equal(t, []string{"ALL"}, o.host.CapDrop)
	require.Equal(t, "INT", o.config.StopSignal)
	require.Equal(t, map[string]string{"/tmp": "size=1m"}, o.host.Tmpfs)
	require.Equal(t, "never", o.pull)
	require.Equal(t, []mount.Mount{{Type: mount.TypeVolume, Target: "/scratch"}}, o.mounts)

	o, err = parseOptions([]string{"--entrypoint", ""})
	require.NoError(t, err)
	require.Equal(t, []string{""}, o.config.Entrypoint, "the image's is taken away")
}

func TestRunOptionsThatAreRefused(t *testing.T) {
	for options, why := range map[string]string{
		"--frobnicate":                     "unknown flag: --frobnicate",
		"-Z":                               "'Z'",
		"--help":                           "--help",
		"--cpus":                           "flag needs an argument",
		"image":                            `"image" is no option`,
		"--rm -- sh":                       `"sh" is no option`,
		"--env PATH":                       "--env",
		"--env-file /etc/shadow":           "unknown flag: --env-file",
		"--env =x":                         "--env",
		"--cpus nan":                       "--cpus",
		"--cpus -1":                        "--cpus",
		"-m lots":                          "--memory",
		"--ulimit nofile":                  "--ulimit",
		"--restart always":                 "--restart",
		"--pull sometimes":                 "--pull",
		"-w relative":                      "--workdir",
		"--label batchyard.node=x":         "--label",
		"--dns localhost":                  "--dns",
		"-v a:b":                           "--volume",
		"-v /a:/b/../c":                    "--volume",
		"-v /a:/b:exec":                    "--volume",
		"-v /a:/b:ro:rw":                   "--volume",
		"--mount type=npipe,target=/x":     "--mount",
		"--mount type=bind,source=/x":      "--mount",
		"--mount target=/x,propagation=1":  "propagation",
		"--mount type=tmpfs,src=a,dst=/x":  "--mount",
		"--mount type=bind,dst=/x,ro=what": "--mount",
		"--device x":                       "--device",
		"--device /a:/b:/c:rwm":            "--device",
		"--gpus some":                      "--gpus",
		"--gpus 0":                         "--gpus",
		"--gpus count=1,device=2":          "--gpus",
		"--gpus colour=red":                "--gpus",
		"--sysctl x":                       "--sysctl",
		"--tmpfs tmp":                      "--tmpfs",
		"--privileged=perhaps":             "privileged",
	} {
		_, err := parseOptions(strings.Fields(options))
		require.ErrorContains(t, err, why, options)
	}
}

func TestRunOptionsThatReachTheMachine(t *testing.T) {
	for options, reach := range map[string]string{
		"--privileged":                      "--privileged",
		"--cap-add SYS_ADMIN":               "--cap-add",
		"--device /dev/sda":                 "--device /dev/sda",
		"--device-cgroup-rule c:*:rwm":      "--device-cgroup-rule",
		"--security-opt seccomp=unconfined": "--security-opt seccomp=unconfined",
		"--pid host":                        "--pid host",
		"--uts=host":                        "--uts host",
		"--userns host":                     "--userns host",
		"--ipc container:other":             "--ipc container:other",
		"--network container:other":         "--network container:other",
		"--cgroupns host":                   "--cgroupns host",
		"--cgroup-parent /":                 "--cgroup-parent /",
		"--runtime evil":                    "--runtime evil",
		"--group-add 0":                     "--group-add",
		"--sysctl kernel.shmmax=1":          "--sysctl kernel.shmmax",
		"--oom-score-adj -1000":             "--oom-score-adj below 0",
		"--oom-kill-disable":                "--oom-kill-disable",
		"-v data:/data":                     "the volume data",
		"--mount source=data,target=/data":  "the volume data",
	} {
		o, err := parseOptions(strings.Fields(options))
		require.NoError(t, err, options)
		require.Equal(t, []string{reach}, o.reaches, options)
	}
}

func TestGPUs(t *testing.T) {
	gpu := [][]string{{"gpu"}}
	for text, want := range map[string]container.DeviceRequest{
		"all":                        {Count: -1, Capabilities: gpu},
		"2":                          {Count: 2, Capabilities: gpu},
		`"device=0,2"`:               {DeviceIDs: []string{"0", "2"}, Capabilities: gpu},
		"device=GPU-3a":              {DeviceIDs: []string{"GPU-3a"}, Capabilities: gpu},
		`all,"capabilities=utility"`: {Count: -1, Capabilities: [][]string{{"utility", "gpu"}}},
		"driver=nvidia,count=1":      {Driver: "nvidia", Count: 1, Capabilities: gpu},
		"driver=nvidia":              {Driver: "nvidia", Count: -1, Capabilities: gpu},
	} {
		o, err := parseOptions([]string{"--gpus", text})
		require.NoError(t, err, text)
		require.Equal(t, []container.DeviceRequest{want}, o.host.DeviceRequests, text)
	}
}

func TestDevices(t *testing.T) {
	for text, want := range map[string]container.DeviceMapping{
		"/dev/fuse":           {PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm"},
		"/dev/fuse:r":         {PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "r"},
		"/dev/fuse:/dev/x":    {PathOnHost: "/dev/fuse", PathInContainer: "/dev/x", CgroupPermissions: "rwm"},
		"/dev/fuse:/dev/x:rw": {PathOnHost: "/dev/fuse", PathInContainer: "/dev/x", CgroupPermissions: "rw"},
	} {
		got, err := parseDevice(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestVariablesInOptions(t *testing.T) {
	values := map[string]string{"AZ_BATCH_A": "/a", "AZ_BATCH_AB": "/ab"}
	for text, want := range map[string]string{
		"": "", "$": "$", "$$AZ_BATCH_A": "$/a", "$AZ_BATCH_A:/x": "/a:/x", "${AZ_BATCH_A}B": "/aB", "$AZ_BATCH_AB/$AZ_BATCH_A": "/ab//a",
		"$HOME": "$HOME", "${HOME": "${HOME", "${}": "${}", "x$AZ_BATCH_A": "x/a",
	} {
		require.Equal(t, want, expand(text, values), text)
	}
}

// Whatever the options are, they are taken or refused, and what reaches the machine is told.
func FuzzRunOptions(f *testing.F) {
	for _, seed := range []string{
		"--rm -e A=1", "--gpus \"device=0,1\" --privileged", "--mount type=bind,source=/a,target=/b,ro", "-v/a:/b:ro", "--device /dev/x:rw", "--cpus 1e9", "--ulimit a=1:2", "-it --tmpfs /x:y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOptions(strings.Fields(text))
		if err != nil {
			return
		}
		reaching := o.host.Privileged || len(o.host.CapAdd)+len(o.host.Devices)+len(o.host.GroupAdd)+len(o.host.Sysctls) > 0 || o.host.PidMode != ""
		if reaching && len(o.reaches) == 0 {
			t.Fatalf("%q reaches the machine and nobody is told", text)
		}
		for _, m := range o.mounts {
			if !cleanPath(m.Target) {
				t.Fatalf("%q mounts to %q", text, m.Target)
			}
		}
		if slices.ContainsFunc(o.config.Env, func(pair string) bool { return !strings.Contains(pair, "=") }) {
			t.Fatalf("%q takes a variable from elsewhere", text)
		}
	})
}
