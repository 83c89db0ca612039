from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("onloop_tasks", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="worker",
            field=models.CharField(blank=True, max_length=255, default=""),
            preserve_default=False,
        ),
    ]
