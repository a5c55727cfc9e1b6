# What Vagrant makes of a Vagrantfile: for each [settings, provider] on standard input, the box and the machine, or the
# message with which the file refuses the settings. With FETCH in the settings, what fetching the box as `vagrant up`
# does comes to. One process for all of them, since loading Vagrant takes a second.
require "json"
require "vagrant"

# What of a provider's settings the tests look at; providers whose plugin is not installed have none.
def told(provider)
  {
    "cpus" => provider.respond_to?(:cpus) ? provider.cpus : nil,
    "memory" => provider.respond_to?(:memory) ? provider.memory : nil,
    "driver" => provider.respond_to?(:cpu_mode) ? provider.driver : nil,
    "cpu_mode" => provider.respond_to?(:cpu_mode) ? provider.cpu_mode : nil,
    "options" => provider.respond_to?(:customizations) ? provider.customizations.map { |_, option| option[2..] } : nil,
  }
end

# As much of a machine as that step of `vagrant up` looks at.
Machine = Struct.new(
  :config, :box, :name, :env, :provider_name, :provider_options, :data_dir, :vagrantfile, :triggers
)

def fetch(environment, config, name)
  machine = Machine.new(config, nil, :default, environment, name, {}, nil, environment.vagrantfile, nil)
  steps = Vagrant::Action::Builder.new.tap { |builder| builder.use Vagrant::Action::Builtin::HandleBox }
  environment.action_runner.run(
    steps, machine: machine, action_name: :machine_action_up, ui: environment.ui, env: environment
  )
  "fetched"
rescue Vagrant::Errors::VagrantError => e
  e.message
end

answers = JSON.parse($stdin.read).map do |settings, provider|
  before = ENV.to_h
  ENV.update(settings)
  environment = Vagrant::Environment.new(cwd: ENV.fetch("VAGRANT_CWD"), ui_class: Vagrant::UI::Silent)
  name = provider.to_sym
  config = environment.vagrantfile.machine_config(:default, name, environment.boxes, nil, false)[:config]
  fetched = settings["FETCH"] ? { "fetched" => fetch(environment, config, name) } : {}
  told(config.vm.get_provider_config(name)).merge("box" => config.vm.box, "url" => config.vm.box_url, **fetched)
rescue SystemExit => e
  { "refused" => e.message }
ensure
  ENV.replace(before)
end
puts JSON.generate(answers)
