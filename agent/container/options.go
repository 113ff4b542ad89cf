package container

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/pflag"
)

// options are what a task's containerRunOptions ask for: a subset of what `docker create` takes.
type options struct {
	config   container.Config
	host     container.HostConfig
	mounts   []mount.Mount
	user     string
	workdir  string
	platform string
	pull     string
	// entrypoint is given, perhaps as empty.
	entrypoint bool
	// reaches are the options that reach beyond what a task of the same user could do without a container.
	reaches []string
}

// maxOptions bounds the text of the options.
const maxOptions = 64 << 10

// rawOptions are the values as they were given.
type rawOptions struct {
	env, volumes, mounts, tmpfs, ulimits, labels, capAdd, capDrop, devices, deviceRules, security, sysctls []string
	groups, dns, dnsSearch, dnsOptions, hosts, gpus                                                        []string
	entrypoint, memory, memorySwap, memoryReservation, shm, cpus, network, ipc, pid, uts, userns, restart  string
	cgroupns, runtime, cgroupParent                                                                        string
	pids, shares                                                                                           int64
	oomScore                                                                                               int
	oomKillDisable, init                                                                                   bool
}

// parseOptions reads options that were split into words. It never gives them to a shell.
func parseOptions(words []string) (*options, error) {
	o, raw := &options{}, &rawOptions{}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.declare(flags, raw)
	if err := flags.Parse(words); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			err = errors.New("unknown flag: --help")
		}
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is no option", flags.Arg(0))
	}
	steps := []func(*rawOptions, *pflag.FlagSet) error{o.takeProcess, o.takeNamespaces, o.takeLimits, o.takeDevices, o.takeNames, o.takeMounts}
	for _, step := range steps {
		if err := step(raw, flags); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *options) declare(flags *pflag.FlagSet, raw *rawOptions) {
	lists := func(to *[]string, name, short string) { flags.StringArrayVarP(to, name, short, nil, "") }
	text := func(to *string, name, short string) { flags.StringVarP(to, name, short, "", "") }
	lists(&raw.env, "env", "e")
	lists(&raw.volumes, "volume", "v")
	lists(&raw.mounts, "mount", "")
	lists(&raw.tmpfs, "tmpfs", "")
	lists(&raw.ulimits, "ulimit", "")
	lists(&raw.labels, "label", "l")
	lists(&raw.capAdd, "cap-add", "")
	lists(&raw.capDrop, "cap-drop", "")
	lists(&raw.devices, "device", "")
	lists(&raw.deviceRules, "device-cgroup-rule", "")
	lists(&raw.security, "security-opt", "")
	lists(&raw.sysctls, "sysctl", "")
	lists(&raw.groups, "group-add", "")
	lists(&raw.dns, "dns", "")
	lists(&raw.dnsSearch, "dns-search", "")
	lists(&raw.dnsOptions, "dns-option", "")
	lists(&raw.hosts, "add-host", "")
	lists(&raw.gpus, "gpus", "")
	text(&raw.entrypoint, "entrypoint", "")
	text(&raw.memory, "memory", "m")
	text(&raw.memorySwap, "memory-swap", "")
	text(&raw.memoryReservation, "memory-reservation", "")
	text(&raw.shm, "shm-size", "")
	text(&raw.cpus, "cpus", "")
	text(&raw.network, "network", "")
	text(&raw.network, "net", "")
	text(&raw.ipc, "ipc", "")
	text(&raw.pid, "pid", "")
	text(&raw.uts, "uts", "")
	text(&raw.userns, "userns", "")
	text(&raw.cgroupns, "cgroupns", "")
	text(&raw.cgroupParent, "cgroup-parent", "")
	text(&raw.runtime, "runtime", "")
	text(&raw.restart, "restart", "")
	text(&o.user, "user", "u")
	text(&o.workdir, "workdir", "w")
	text(&o.platform, "platform", "")
	text(&o.pull, "pull", "")
	text(&o.config.Hostname, "hostname", "h")
	text(&o.config.Domainname, "domainname", "")
	text(&o.config.StopSignal, "stop-signal", "")
	text(&o.host.CpusetCpus, "cpuset-cpus", "")
	text(&o.host.CpusetMems, "cpuset-mems", "")
	flags.Int64Var(&raw.pids, "pids-limit", 0, "")
	flags.Int64VarP(&raw.shares, "cpu-shares", "c", 0, "")
	flags.IntVar(&raw.oomScore, "oom-score-adj", 0, "")
	flags.BoolVar(&raw.oomKillDisable, "oom-kill-disable", false, "")
	flags.BoolVar(&raw.init, "init", false, "")
	flags.BoolVar(&o.host.Privileged, "privileged", false, "")
	flags.BoolVar(&o.host.ReadonlyRootfs, "read-only", false, "")
	// What every task's container is anyway, or what has no meaning for one.
	flags.Bool("rm", false, "")
	flags.BoolP("interactive", "i", false, "")
	flags.BoolP("tty", "t", false, "")
	flags.String("name", "", "")
}

// reach notes an option that only some nodes honour.
func (o *options) reach(option string) { o.reaches = append(o.reaches, option) }

func (o *options) takeProcess(raw *rawOptions, flags *pflag.FlagSet) error {
	for _, pair := range raw.env {
		// A name alone would stand for the variable of whoever runs docker.
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" {
			return fmt.Errorf("--env %q is not NAME=value", pair)
		}
	}
	o.config.Env = raw.env
	if o.entrypoint = flags.Changed("entrypoint"); o.entrypoint {
		o.config.Entrypoint = []string{raw.entrypoint}
	}
	switch {
	case o.workdir != "" && !path.IsAbs(o.workdir):
		return fmt.Errorf("--workdir %q is not an absolute path", o.workdir)
	case raw.restart != "" && raw.restart != "no":
		return fmt.Errorf("--restart %s: a task's container is run once", raw.restart)
	case o.pull != "" && o.pull != "missing" && o.pull != "always" && o.pull != "never":
		return fmt.Errorf("--pull %q is not always, missing or never", o.pull)
	}
	if raw.init {
		o.host.Init = &raw.init
	}
	if o.host.Privileged {
		o.reach("--privileged")
	}
	if len(raw.capAdd) > 0 {
		o.reach("--cap-add")
	}
	o.host.CapAdd, o.host.CapDrop = raw.capAdd, raw.capDrop
	for _, opt := range raw.security {
		if name := strings.TrimSuffix(strings.TrimSuffix(opt, "=true"), ":true"); name != "no-new-privileges" {
			o.reach("--security-opt " + opt)
		}
	}
	o.host.SecurityOpt = raw.security
	if len(raw.groups) > 0 {
		o.reach("--group-add")
	}
	o.host.GroupAdd = raw.groups
	return nil
}

func (o *options) takeNamespaces(raw *rawOptions, _ *pflag.FlagSet) error {
	// What joins another container, or the machine's namespaces where those of a task are not the machine's.
	beyond := func(option, value string, plain ...string) {
		for _, p := range plain {
			if value == p {
				return
			}
		}
		o.reach(option + " " + value)
	}
	beyond("--network", raw.network, "", "none", "host", "bridge", "default")
	beyond("--ipc", raw.ipc, "", "none", "private", "shareable", "host")
	beyond("--pid", raw.pid, "")
	beyond("--uts", raw.uts, "")
	beyond("--userns", raw.userns, "")
	beyond("--cgroupns", raw.cgroupns, "", "private")
	beyond("--cgroup-parent", raw.cgroupParent, "")
	beyond("--runtime", raw.runtime, "", "nvidia")
	o.host.NetworkMode, o.host.IpcMode, o.host.PidMode = container.NetworkMode(raw.network), container.IpcMode(raw.ipc), container.PidMode(raw.pid)
	o.host.UTSMode, o.host.UsernsMode = container.UTSMode(raw.uts), container.UsernsMode(raw.userns)
	o.host.CgroupnsMode, o.host.CgroupParent, o.host.Runtime = container.CgroupnsMode(raw.cgroupns), raw.cgroupParent, raw.runtime
	for _, pair := range raw.sysctls {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("--sysctl %q is not NAME=value", pair)
		}
		if o.host.Sysctls == nil {
			o.host.Sysctls = map[string]string{}
		}
		o.host.Sysctls[name] = value
		o.reach("--sysctl " + name)
	}
	return nil
}

func (o *options) takeLimits(raw *rawOptions, flags *pflag.FlagSet) error {
	for _, size := range []struct {
		option, text string
		to           *int64
	}{
		{"--memory", raw.memory, &o.host.Memory}, {"--memory-swap", raw.memorySwap, &o.host.MemorySwap},
		{"--memory-reservation", raw.memoryReservation, &o.host.MemoryReservation}, {"--shm-size", raw.shm, &o.host.ShmSize},
	} {
		if size.text == "" || size.option == "--memory-swap" && size.text == "-1" {
			continue
		}
		n, err := units.RAMInBytes(size.text)
		if err != nil || n < 0 {
			return fmt.Errorf("%s %q is not a size", size.option, size.text)
		}
		*size.to = n
	}
	if raw.memorySwap == "-1" {
		o.host.MemorySwap = -1
	}
	if raw.cpus != "" {
		n, err := strconv.ParseFloat(raw.cpus, 64)
		if err != nil || !(n >= 0 && n < 1e6) {
			return fmt.Errorf("--cpus %q is not a number of processors", raw.cpus)
		}
		o.host.NanoCPUs = int64(n * 1e9)
	}
	o.host.CPUShares, o.host.OomScoreAdj = raw.shares, raw.oomScore
	if flags.Changed("pids-limit") {
		o.host.PidsLimit = &raw.pids
	}
	if raw.oomScore < 0 {
		o.reach("--oom-score-adj below 0")
	}
	if raw.oomKillDisable {
		o.host.OomKillDisable = &raw.oomKillDisable
		o.reach("--oom-kill-disable")
	}
	for _, text := range raw.ulimits {
		limit, err := units.ParseUlimit(text)
		if err != nil {
			return fmt.Errorf("--ulimit %q: %w", text, err)
		}
		o.host.Ulimits = append(o.host.Ulimits, &container.Ulimit{Name: limit.Name, Hard: limit.Hard, Soft: limit.Soft})
	}
	return nil
}

func (o *options) takeNames(raw *rawOptions, _ *pflag.FlagSet) error {
	for _, text := range raw.dns {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("--dns %q is not an address", text)
		}
		o.host.DNS = append(o.host.DNS, address)
	}
	o.host.DNSSearch, o.host.DNSOptions, o.host.ExtraHosts = raw.dnsSearch, raw.dnsOptions, raw.hosts
	for _, pair := range raw.labels {
		name, value, _ := strings.Cut(pair, "=")
		if name == "" || strings.HasPrefix(name, labelPrefix) {
			return fmt.Errorf("--label %q can't be given", pair)
		}
		if o.config.Labels == nil {
			o.config.Labels = map[string]string{}
		}
		o.config.Labels[name] = value
	}
	return nil
}
